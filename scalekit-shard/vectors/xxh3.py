"""XXH3-64 with seed 0 in plain Python, so that a machine without packages can check the vectors.

Written from the specification of the algorithm (xxHash 0.8.0, from which on its output is frozen).
"""

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
STRIPE, STRIPES_PER_BLOCK = 64, (192 - 64) // 8


def u32(data, at=0):
    return int.from_bytes(data[at:at + 4], "little")


def u64(data, at=0):
    return int.from_bytes(data[at:at + 8], "little")


def key(at):
    """Eight bytes of the secret as a number."""
    return u64(SECRET, at)


def folded(a, b):
    """The 128-bit product, its halves xored."""
    product = a * b
    return (product ^ product >> 64) & M64


def avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & M64
    return h ^ h >> 32


def avalanche_short(h):
    h ^= h >> 33
    h = h * P64[1] & M64
    h ^= h >> 29
    h = h * P64[2] & M64
    return h ^ h >> 32


def rotated(h, by):
    return (h << by | h >> 64 - by) & M64


def swapped(h):
    return int.from_bytes(h.to_bytes(8, "little"), "big")


def mixed(data, at, secret_at):
    return folded(u64(data, at) ^ key(secret_at), u64(data, at + 8) ^ key(secret_at + 8))


def up_to_16(data):
    n = len(data)
    if n == 0:
        return avalanche_short(key(56) ^ key(64))
    if n <= 3:
        word = data[0] << 16 | data[n >> 1] << 24 | data[-1] | n << 8
        return avalanche_short(word ^ u32(SECRET, 0) ^ u32(SECRET, 4))
    if n <= 8:
        h = (u32(data, n - 4) + (u32(data) << 32)) ^ key(8) ^ key(16)
        h ^= rotated(h, 49) ^ rotated(h, 24)
        h = h * 0x9FB21C651E98DF25 & M64
        h ^= (h >> 35) + n
        h = h * 0x9FB21C651E98DF25 & M64
        return h ^ h >> 28
    low = u64(data) ^ key(24) ^ key(32)
    high = u64(data, n - 8) ^ key(40) ^ key(48)
    return avalanche(n + swapped(low) + high + folded(low, high) & M64)


def up_to_128(data):
    n = len(data)
    h = n * P64[0]
    for i in reversed(range((n - 1) // 32 + 1)):
        h += mixed(data, 16 * i, 32 * i) + mixed(data, n - 16 * (i + 1), 32 * i + 16)
    return avalanche(h & M64)


def up_to_240(data):
    n = len(data)
    h = n * P64[0] + sum(mixed(data, 16 * i, 16 * i) for i in range(8))
    h = avalanche(h & M64)
    h += sum(mixed(data, 16 * i, 16 * (i - 8) + 3) for i in range(8, n // 16))
    return avalanche(h + mixed(data, n - 16, 136 - 17) & M64)


def accumulated(lanes, data, at, secret_at):
    for i in range(8):
        value = u64(data, at + 8 * i)
        keyed = value ^ key(secret_at + 8 * i)
        lanes[i ^ 1] = lanes[i ^ 1] + value & M64
        lanes[i] = lanes[i] + (keyed & M32) * (keyed >> 32) & M64


def long(data):
    n = len(data)
    lanes = [P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]]
    for stripe in range((n - 1) // STRIPE):
        place = stripe % STRIPES_PER_BLOCK
        accumulated(lanes, data, STRIPE * stripe, 8 * place)
        if place == STRIPES_PER_BLOCK - 1:
            lanes = [(lane ^ lane >> 47 ^ key(128 + 8 * i)) * P32[0] & M64 for i, lane in enumerate(lanes)]
    accumulated(lanes, data, n - STRIPE, 192 - STRIPE - 7)
    h = n * P64[0]
    for i in range(4):
        h += folded(lanes[2 * i] ^ key(11 + 16 * i), lanes[2 * i + 1] ^ key(19 + 16 * i))
    return avalanche(h & M64)


def xxh3_64(data):
    """The hash of these bytes."""
    for limit, of_length in ((16, up_to_16), (128, up_to_128), (240, up_to_240)):
        if len(data) <= limit:
            return of_length(data)
    return long(data)
