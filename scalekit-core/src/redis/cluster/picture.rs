//! What one node says about who serves which slots.

use std::ops::RangeInclusive;

use ::redis::Value;

use super::address::Address;

/// An answer to `CLUSTER SLOTS`, and how new it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) said_by: Address,
    /// The newest configuration that the node has heard of; `None` if its user may not ask.
    pub(super) epoch: Option<u64>,
    pub(super) ranges: Vec<(RangeInclusive<u16>, Address)>,
    pub(super) replicas: Vec<Address>,
}

impl Picture {
    /// `None` for an answer that cannot be read, or of a node that knows of no slot.
    pub(super) fn read(said_by: &Address, slots: &Value, info: &Value) -> Option<Self> {
        let Value::Array(entries) = slots else { return None };
        let (mut ranges, mut replicas) = (Vec::new(), Vec::new());
        for entry in entries {
            let Value::Array(entry) = entry else { return None };
            let [Value::Int(first), Value::Int(last), nodes @ ..] = entry.as_slice() else { return None };
            let range = u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?;
            let mut nodes = nodes.iter().map(|node| address(node, said_by));
            if let Some(Some(master)) = nodes.next() {
                ranges.push((range, master));
            }
            replicas.extend(nodes.flatten().filter(|one| !replicas.contains(one)).collect::<Vec<_>>());
        }
        let epoch = text(info).and_then(|info| {
            let line = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"))?;
            line.trim().parse().ok()
        });
        (!ranges.is_empty()).then(|| Self { said_by: said_by.clone(), epoch, ranges, replicas })
    }
}

/// `[endpoint, port, id, metadata]`. No endpoint, or an empty one, is the host that was asked; `?` is one that the node
/// does not know, whose address may be among the metadata.
fn address(node: &Value, said_by: &Address) -> Option<Address> {
    let Value::Array(node) = node else { return None };
    let [endpoint, Value::Int(port), rest @ ..] = node.as_slice() else { return None };
    let port = u16::try_from(*port).ok().filter(|port| *port != 0)?;
    match text(endpoint).as_deref() {
        None | Some("") => Some(Address { host: said_by.host.clone(), port }),
        Some("?") => rest.get(1).and_then(ip).map(|host| Address::new(&host, port)),
        Some(host) => Some(Address::new(host, port)),
    }
}

fn ip(metadata: &Value) -> Option<String> {
    match metadata {
        Value::Array(flat) => flat
            .as_chunks::<2>()
            .0
            .iter()
            .find(|[name, _]| text(name).as_deref() == Some("ip"))
            .and_then(|[_, value]| text(value)),
        Value::Map(pairs) => {
            pairs.iter().find(|(name, _)| text(name).as_deref() == Some("ip")).and_then(|(_, ip)| text(ip))
        }
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(endpoint: Value, port: i64, metadata: Value) -> Value {
        Value::Array(vec![endpoint, Value::Int(port), bulk("an-id"), metadata])
    }

    #[test]
    fn every_way_to_name_a_node_is_read() {
        let asked = Address::new("seed", 1);
        let none = Value::Array(Vec::new());
        let flat = Value::Array(vec![bulk("hostname"), bulk("h"), bulk("ip"), bulk("10.0.0.9")]);
        let map = Value::Map(vec![(bulk("ip"), bulk("10.0.0.8"))]);
        let range =
            |at: i64, nodes: &[Value]| Value::Array([&[Value::Int(at), Value::Int(at)], nodes].concat());
        let slots = Value::Array(vec![
            range(0, &[node(bulk("10.0.0.1"), 7, none.clone()), node(bulk("10.0.0.2"), 7, none.clone())]),
            range(1, &[node(Value::Nil, 8, none.clone())]),
            range(2, &[node(bulk(""), 9, none.clone())]),
            range(3, &[node(bulk("?"), 10, flat)]),
            range(4, &[node(bulk("?"), 11, map)]),
            range(5, &[node(bulk("?"), 12, none)]),
        ]);
        let info = bulk("cluster_state:ok\r\ncluster_current_epoch:6\r\ncluster_my_epoch:2\r\n");
        let picture = Picture::read(&asked, &slots, &info).unwrap();
        let places: Vec<String> = picture.ranges.iter().map(|(_, at)| at.to_string()).collect();
        assert_eq!(places, ["10.0.0.1:7", "seed:8", "seed:9", "10.0.0.9:10", "10.0.0.8:11"]);
        assert_eq!((picture.epoch, picture.replicas), (Some(6), vec![Address::new("10.0.0.2", 7)]));
    }

    #[test]
    fn what_is_no_picture_is_none() {
        let asked = Address::new("seed", 1);
        let bad = [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(99_999)])]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(9)])]),
        ];
        for slots in bad {
            assert_eq!(Picture::read(&asked, &slots, &Value::Nil), None, "{slots:?}");
        }
    }
}
