//! Minimal hyper proxy: hyper's server, hyper-util's pooled client, both bodies streamed, one thread. Any cost of
//! shiftgate above this one is its own. It runs as a separate process, so that its CPU can be told apart.

use std::net::SocketAddr;

use anyhow::Context;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Pool = Client<HttpConnector, Incoming>;

/// Serves until the process is killed.
pub(crate) fn run(listen: SocketAddr, origin: &str) -> anyhow::Result<()> {
    let origin: Authority = origin.parse().context("the address of the origin")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool: Pool = Client::builder(TokioExecutor::new()).build(connector);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (pool, origin) = (pool.clone(), origin.clone());
            let service = service_fn(move |request| forward(pool.clone(), origin.clone(), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

async fn forward(pool: Pool, origin: Authority, mut request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(origin);
    *request.uri_mut() = Uri::from_parts(uri)?;
    Ok(pool.request(request).await?)
}
