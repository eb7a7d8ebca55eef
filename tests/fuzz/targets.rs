//! Properties that hold for every input.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use shiftgate::api::choose;
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::wire::framing::Framing;
use shiftgate::api::wire::observe::Observer;
use shiftgate::api::wire::sse::Framer;
use shiftgate::api::wire::{endpoint::Endpoint, head, scan, splice};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An I/O that returns these bytes, then end of file; writes are discarded.
struct Script<'i>(&'i [u8]);

impl AsyncRead for Script<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Every request that hyper accepts was seen or flagged by the framing guard; a head that passes has a host.
pub(crate) async fn head(input: &[u8]) {
    let mut framing = Framing::default();
    framing.push(input);
    let served = AtomicU64::new(0);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let number = served.fetch_add(1, Relaxed) + 1;
        let fault = framing.fault().filter(|(first, _)| *first <= number).map(|(_, fault)| fault);
        assert!(fault.is_some() || number <= framing.heads(), "request {number} was not seen");
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let checked = head::check(method, uri, request.version(), headers, fault);
        if checked.is_ok() && head::is_known(method) {
            let hosts = headers.get_all(HOST).iter().count();
            assert!(hosts == 1 || (hosts == 0 && request.version() == Version::HTTP_10));
            assert!(uri.path().starts_with('/') || uri.path() == "*");
            let endpoint = Endpoint::of(method, uri.path());
            assert!(endpoint == Endpoint::Malformed || !uri.path().contains("/../"), "{}", uri.path());
        }
        async move {
            drop(request.into_body().collect().await);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(Script(input)), service).await);
}

/// Replacing the model changes only the model's value.
pub(crate) fn body(input: &[u8]) {
    let Ok(read) = scan::scan(input) else { return };
    let (Some(model), Some(span)) = (read.model(), read.model_span()) else { return };
    let whole = Bytes::copy_from_slice(input);
    let renamed = splice::replace(&whole, span.clone(), "a \"new\" name");
    let again = scan::scan(&renamed).unwrap();
    assert_eq!(again.model().unwrap(), "a \"new\" name");
    assert_eq!(again.stream(), read.stream());
    assert_eq!(
        (&renamed[..span.start], &renamed[renamed.len() - (input.len() - span.end)..]),
        (&input[..span.start], &input[span.end..])
    );
    let back = splice::replace(&renamed, again.model_span().unwrap(), model);
    assert_eq!(scan::scan(&back).unwrap().model().unwrap(), model);
}

fn chain() -> Config {
    const FILE: &str = "[rollout]\nname = \"n\"\nbaseline = \"a\"\npercent = {}\n\
                        [backend.a]\nengine = \"openai\"\nurl = \"http://h/v1\"\napi_key = \"client\"\n";
    config::parse(Path::new("f.toml"), FILE.as_bytes(), Secrets::Required, &|_| None).unwrap()
}

/// The key is the same on each search and is never empty.
pub(crate) fn key(input: &[u8]) {
    thread_local!(static CHAIN: Config = chain());
    let Ok(read) = scan::scan(input) else { return };
    let headers = HeaderMap::new();
    CHAIN.with(|config| {
        let found = choose::find_key(&config.sticky, &headers, Some(&read));
        assert!(found.as_ref().is_none_or(|key| !key.value.is_empty()));
        assert_eq!(found, choose::find_key(&config.sticky, &headers, Some(&read)));
    });
}

/// Chunk boundaries change neither the events of a stream nor the facts read from it.
pub(crate) fn stream(input: &[u8]) {
    let now = Instant::now();
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut framer, mut observer, mut events) = (Framer::default(), Observer::stream(), Vec::new());
        for piece in pieces {
            framer.push(piece, |data| events.push(data.to_vec()));
            observer.push(&Bytes::copy_from_slice(piece), now);
        }
        observer.finish();
        let seen = observer.seen;
        (events, seen.first_content, seen.usage, seen.error_event, seen.finished())
    };
    let whole = read(&mut std::iter::once(input));
    let size = input.first().map_or(1, |byte| usize::from(*byte % 7) + 1);
    assert_eq!(read(&mut input.chunks(size)), whole);
    let mut unstreamed = Observer::whole();
    unstreamed.push(&Bytes::copy_from_slice(input), now);
    unstreamed.finish();
}

/// A file is refused with place and cure, or has the same meaning on each read.
pub(crate) fn configuration(input: &[u8]) {
    let read = || config::parse(Path::new("f.toml"), input, Secrets::Skip, &|_| None);
    match (read(), read()) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.hash, second.hash);
            assert!(first.backends.get(first.baseline.index()).is_some());
            assert!(!config::describe(&first).is_empty());
        }
        (Err(first), Err(second)) => {
            assert_eq!(first.to_string(), second.to_string());
            assert!(first.to_string().starts_with("f.toml"), "{first}");
        }
        _ => panic!("read twice, and not the same"),
    }
}
