//! What carries an exporter's requests: one plain connection each.
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

const LIMIT: Duration = Duration::from_secs(30);

/// An HTTP client for OpenTelemetry's exporters: they run on a thread without a runtime, so it blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtlpClient;

#[async_trait]
impl HttpClient for OtlpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri();
        let mut stream = TcpStream::connect(uri.authority().ok_or("no host")?.as_str())?;
        stream.set_read_timeout(Some(LIMIT))?;
        let content_type = request.headers().get("content-type").ok_or("no content type")?.to_str()?;
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            request.method(),
            uri.path(),
            request.body().len()
        );
        stream.write_all(&[head.as_bytes(), request.body()].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("no head")?;
        let status = String::from_utf8_lossy(&answer[..end]);
        let status: u16 = status.split(' ').nth(1).ok_or("no status")?.parse()?;
        Ok(Response::builder().status(status).body(answer.split_off(end + 4).into())?)
    }
}
