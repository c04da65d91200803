//! The one kind of request that the kit sends to Prometheus.
use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const LIMIT: Duration = Duration::from_secs(10);

/// Status and body of a GET. HTTP/1.0, so that the body is plain and ends with the connection.
pub(super) async fn get(addr: SocketAddr, target: &str) -> io::Result<(u16, String)> {
    tokio::time::timeout(LIMIT, exchange(addr, target)).await?
}

async fn exchange(addr: SocketAddr, target: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!("GET {target} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Everything but letters and digits as `%XX`.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escaped, parse};

    #[test]
    fn a_query_survives_the_way_through_a_url() {
        assert_eq!(escaped("a{b=~\"ü+\"}"), "a%7Bb%3D%7E%22%C3%BC%2B%22%7D");
    }

    #[test]
    fn a_cut_answer_is_none() {
        assert_eq!(parse("HTTP/1.0 200 OK\r\nA: b\r\n\r\nx"), Some((200, "x".to_owned())));
        assert_eq!(parse("HTTP/1.0 200 OK\r\nA: b"), None);
        assert_eq!(parse(""), None);
    }
}
