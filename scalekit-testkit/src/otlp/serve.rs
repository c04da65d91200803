//! The receiver's own thread: reads requests and keeps the good ones.
use std::{convert::Infallible, sync::Arc};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
};

const PROTOBUF: &str = "application/x-protobuf";
/// What a collector accepts by default, rounded: more is a fault of the exporter.
const LARGEST_BODY: usize = 20 << 20;

type Inbox = watch::Sender<Vec<ExportMetricsServiceRequest>>;

/// Serves until `stopped` is resolved; connections end with it.
pub(super) async fn run(listener: TcpListener, inbox: Inbox, mut stopped: oneshot::Receiver<()>) {
    let inbox = Arc::new(inbox);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&inbox)))),
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, inbox: Arc<Inbox>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let inbox = Arc::clone(&inbox);
        async move { Ok::<_, Infallible>(answer(request, &inbox).await) }
    });
    // A client that hangs up in the middle is its own fault.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, inbox: &Inbox) -> Response<Full<Bytes>> {
    match read(request).await {
        Ok(metrics) => {
            inbox.send_modify(|received| received.push(metrics));
            let body = ExportMetricsServiceResponse::default().encode_to_vec();
            response(StatusCode::OK, PROTOBUF, body)
        }
        Err((status, why)) => response(status, "text/plain", why.into()),
    }
}

async fn read(request: Request<Incoming>) -> Result<ExportMetricsServiceRequest, (StatusCode, String)> {
    let refuse = |status, why: &str| Err((status, why.to_owned()));
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if request.uri().path() != "/v1/metrics" {
        return refuse(StatusCode::NOT_FOUND, "only /v1/metrics is here");
    }
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only POST is served");
    }
    if header(CONTENT_TYPE) != Some(PROTOBUF) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only protobuf is read");
    }
    if header(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a compressed body is not read");
    }
    let body = Limited::new(request.into_body(), LARGEST_BODY).collect().await;
    let body = body.map_err(|e| (StatusCode::BAD_REQUEST, format!("the body cannot be read: {e}")))?;
    ExportMetricsServiceRequest::decode(body.to_bytes())
        .map_err(|e| (StatusCode::BAD_REQUEST, format!("no metrics: {e}")))
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
