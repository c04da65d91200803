//! A request that has read its session and then does something, and what another tab does in between: each with each.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::fmt::Write;

use axum::http::StatusCode;
use common::{
    Answer, Browser, LOCALE, NOTES, VIEWS, signed_in,
    slow::{HOUR, Shop},
};
use scalekit_core::{Principal, Result};
use scalekit_session::{Current, Session};

/// What the first request does after it has read.
const FIRST: [&str; 9] = [
    "write",
    "update",
    "take",
    "sign in as ada",
    "sign in as bob",
    "renew",
    "sign out",
    "revoke the others",
    "revoke all",
];

/// What the other tab does meanwhile.
const MEANWHILE: [&str; 8] =
    ["write", "rotate", "renew", "sign in as ada", "sign in as bob", "sign out", "revoke all", "expire"];

/// Of a user: for each of the first, one column for each of the others: `=` the response leaves the cookie alone, `+` it gives a new
/// one, `-` it takes it away; then what the session holds that the browser has afterwards, whichever response came last:
/// its user (`a`, `b`, or `.` for a guest), `v` the first request's write, `w` the other's, `c` the cart of before, `x`
/// nothing at all.
const USER: &str = "
write             =avwc =avc =avc =ac  =b  =x  =x  +.v
update            =avwc =avc =avc =ac  =b  =x  =x  +.v
take              =awc   =ac  =ac  =ac  =b  =x  =x  =x
sign in as ada    +awc  +ac  +ac  +a   +a  +a  +a  +a
sign in as bob    +b    +b   +b   +b   +b  +b  +b  +b
renew             +awc  +ac  +ac  =ac  =b  =x  =x  =x
sign out          -x    -x   -x   =ac  =b  =x  =x  =x
revoke the others =awc  =ac  =ac  =x   =b  =x  =x  =x
revoke all        -x    -x   -x   -x   -x  -x  -x  -x
";

/// Of a guest.
const GUEST: &str = "
write             =.vwc =.vc =.vc =ac  =bc  =x  =.vc +.v
update            =.vwc =.vc =.vc =ac  =bc  =x  =.vc +.v
take              =.wc  =.c  =.c  =ac  =bc  =x  =.c  =x
sign in as ada    +awc  +ac  +ac  +ac  +ac  +a  +ac  +a
sign in as bob    +bwc  +bc  +bc  +bc  +bc  +b  +bc  +b
renew             +.wc  +.c  +.c  =ac  =bc  =x  +.c  =x
sign out          -x    -x   -x   =ac  =bc  =x  -x   =x
revoke the others =.wc  =.c  =.c  =ac  =bc  =x  =.c  =x
revoke all        =.wc  =.c  =.c  =ac  =bc  =x  =.c  =x
";

async fn reads(session: Session) -> Result<()> {
    session.get(NOTES).await.map(drop)
}

async fn first(session: Session, does: &'static str) -> Result<()> {
    let user = |name| Principal::user(name).tenant("acme");
    match does {
        "write" => session.incr(VIEWS, 1),
        "update" => session.update(NOTES, |notes| notes.push("v".to_owned())).await.map(drop),
        "take" => session.take(LOCALE).await.map(drop),
        "sign in as ada" => session.sign_in(&user("ada"), "first").await,
        "sign in as bob" => session.sign_in(&user("bob"), "first").await,
        "renew" => session.renew(),
        "sign out" => session.sign_out().await,
        "revoke the others" => session.revoke_all(Current::Kept).await.map(drop),
        "revoke all" => session.revoke_all(Current::Included).await.map(drop),
        other => panic!("{other}"),
    }
}

async fn meanwhile(shop: &Shop, other: &mut Browser, does: &str) {
    let answer = match does {
        "write" => other.post("/locale/de").await,
        "rotate" => return shop.rotate(other).await,
        "renew" => other.post("/renew").await,
        "sign in as ada" => other.post("/sign-in/acme/ada").await,
        "sign in as bob" => other.post("/sign-in/acme/bob").await,
        "sign out" => other.post("/sign-out").await,
        "revoke all" => other.post("/revoke/all").await,
        "expire" => return shop.pass(3 * HOUR).await,
        other => panic!("{other}"),
    };
    assert!(answer.status.is_success(), "{answer:?}");
}

fn cookie_of(answer: &Answer) -> char {
    match answer.cookies().as_slice() {
        [] => '=',
        [taken] if taken.contains("Max-Age=0") => '-',
        [_] => '+',
        more => panic!("{more:?}"),
    }
}

async fn held(browser: &mut Browser) -> String {
    let all = browser.get("/all").await.json();
    if all["lineage"].is_null() {
        return "x".to_owned();
    }
    let user = all["user"][1].as_str().map_or(".", |name| &name[..1]);
    let mut held = user.to_owned();
    let mut mark = |there: bool, letter| {
        if there {
            held.push(letter)
        }
    };
    mark(all["views"] == 1 || all["notes"] == serde_json::json!(["v"]), 'v');
    mark(all["locale"] == "de", 'w');
    mark(all["cart"]["tea"] == 1, 'c');
    held
}

async fn each_with_each(of_user: bool, expected: &str) {
    let mut table = String::from("\n");
    for does in FIRST {
        write!(table, "{does:<18}").unwrap();
        for between in MEANWHILE {
            let shop = Shop::open(reads, move |session| first(session, does));
            let mut browser = match of_user {
                true => signed_in(&shop.app, "acme", "ada").await,
                false => Browser::new(&shop.app),
            };
            browser.post("/cart/tea/1").await;
            let slow = shop.slow(&browser).await;
            let mut other = browser.clone();
            meanwhile(&shop, &mut other, between).await;
            let answer = shop.end(slow).await;
            assert_eq!(answer.status, StatusCode::OK, "{does} / {between}: {answer:?}");
            // The first request's response arrives last.
            other.keep(&answer);
            let seen = format!("{}{}", cookie_of(&answer), held(&mut other).await);
            write!(table, "{seen:<6}").unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    let columns = |table: &str| -> Vec<Vec<String>> {
        let rows = table.lines().filter(|line| !line.is_empty());
        rows.map(|row| row[18..].split_whitespace().map(str::to_owned).collect()).collect()
    };
    assert_eq!(columns(&table), columns(expected), "{table}");
}

#[tokio::test(start_paused = true)]
async fn two_requests_of_a_user() {
    each_with_each(true, USER).await;
}

#[tokio::test(start_paused = true)]
async fn two_requests_of_a_guest() {
    each_with_each(false, GUEST).await;
}
