//! `--shard NAME=URL`: a database that holds a share of the tenants.

use crate::db;

/// The longest name of a shard.
const NAME_MAX: usize = 32;

/// One shard, as the command line names it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ShardSpec {
    pub(crate) name: String,
    pub(crate) url: String,
}

/// Every `--shard`, in the order in which they were given.
pub(super) fn parse_all(values: &[String]) -> Result<Vec<ShardSpec>, String> {
    let mut shards: Vec<ShardSpec> = Vec::new();
    for value in values {
        let shard = parse(value)?;
        if shards.iter().any(|known| known.name == shard.name) {
            return Err(format!("--shard: two shards are called {:?}", shard.name));
        }
        if shards.iter().any(|known| known.url == shard.url) {
            return Err(format!("--shard: {:?} has the URL of another shard", shard.name));
        }
        shards.push(shard);
    }
    if shards.is_empty() && db::NEEDS_SHARDS {
        return Err("this build runs on Postgres: say --shard NAME=postgres://.. at least once".into());
    }
    // Processes that name the same shards in another order must place every tenant alike.
    shards.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(shards)
}

/// A URL may hold a password, so messages name the shard and never the URL.
fn parse(value: &str) -> Result<ShardSpec, String> {
    let (name, rest) =
        value.split_once('=').ok_or("--shard: expected NAME=URL, such as a=sqlite:///tmp/a.db")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
        return Err(format!("--shard: the name {name:?} is not 1 to {NAME_MAX} of a-z, 0-9, - and _"));
    }
    let mut parts = rest.split(",replica=");
    let url = parts.next().unwrap_or_default();
    if parts.next().is_some() {
        return Err(format!("--shard {name}: replicas are not built in"));
    }
    if db::SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(ShardSpec { name: name.to_owned(), url: url.to_owned() });
    }
    Err(match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => {
            format!("--shard {name}: Postgres is not built in; build with --features postgres")
        }
        Some(("sqlite", _)) => {
            format!("--shard {name}: SQLite is not built in; build without the feature postgres")
        }
        Some((scheme, _)) => format!("--shard {name}: {scheme}:// is not built in"),
        None => format!("--shard {name}: expected a URL behind the name"),
    })
}

impl std::fmt::Debug for ShardSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardSpec").field("name", &self.name).finish_non_exhaustive()
    }
}
