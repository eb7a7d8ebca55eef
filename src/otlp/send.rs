//! A batch on its way: gRPC's one call, or one POST, with the bytes as they are.

use std::io::Write;

use bytes::{Buf, BufMut, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use opentelemetry_http::HttpClient;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::dial::{Dial, DialError, Posts};
use super::settings::{Protocol, Settings};

const CALL: PathAndQuery = PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Refused {
    pub(super) why: String,
    /// The same may be taken a moment later.
    pub(super) passes: bool,
}

/// The way to one collector.
#[derive(Debug)]
pub(super) enum Way {
    Grpc { client: Box<Grpc<Channel>>, headers: HeaderMap },
    Http { client: Box<Posts>, uri: Uri, headers: HeaderMap, gzip: bool },
}

impl Way {
    pub(super) fn new(settings: &Settings) -> Result<Self, DialError> {
        let headers = headers(settings);
        match settings.protocol {
            Protocol::Grpc => {
                let mut client = Grpc::new(channel(settings)?);
                if settings.gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                Ok(Self::Grpc { client: Box::new(client), headers })
            }
            Protocol::Http => {
                let uri = settings.endpoint.parse().map_err(|_| DialError::Url)?;
                Ok(Self::Http {
                    client: Box::new(Posts::new(Dial::new(settings, false)?)),
                    uri,
                    headers,
                    gzip: settings.gzip,
                })
            }
        }
    }

    pub(super) async fn send(&mut self, batch: Bytes) -> Result<(), Refused> {
        match self {
            Self::Grpc { client, headers } => call(client, headers, batch).await,
            Self::Http { client, uri, headers, gzip } => {
                let (body, encoding) = if *gzip { (zipped(&batch)?, Some("gzip")) } else { (batch, None) };
                let mut request = Request::new(body);
                *request.method_mut() = http::Method::POST;
                *request.uri_mut() = uri.clone();
                *request.headers_mut() = headers.clone();
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                if let Some(encoding) = encoding {
                    request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
                }
                let answer = client.send_bytes(request).await;
                let answer = answer.map_err(|error| Refused { why: causes(error.as_ref()), passes: true })?;
                match answer.status() {
                    status if status.is_success() => Ok(()),
                    status => Err(Refused { why: format!("it answered {status}"), passes: is_passing(status) }),
                }
            }
        }
    }
}

/// A channel over this process' own connections; it connects when it is used.
pub(super) fn channel(settings: &Settings) -> Result<Channel, DialError> {
    let dial = Dial::new(settings, true)?;
    let endpoint = tonic::transport::Endpoint::from_shared(settings.endpoint.clone()).map_err(|_| DialError::Url)?;
    Ok(endpoint.connect_with_connector_lazy(dial))
}

fn headers(settings: &Settings) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.expose())) {
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    headers
}

async fn call(client: &mut Grpc<Channel>, headers: &HeaderMap, batch: Bytes) -> Result<(), Refused> {
    let refused = |status: &Status| Refused { why: of_status(status), passes: is_passing_code(status.code()) };
    client.ready().await.map_err(|error| Refused { why: causes(&error), passes: true })?;
    let mut request = tonic::Request::new(batch);
    *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
    client.unary(request, CALL, Raw).await.map(drop).map_err(|status| refused(&status))
}

/// What the specification says may be tried again (OTLP §"Failures").
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn is_passing_code(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn of_status(status: &Status) -> String {
    let cause = std::error::Error::source(status).map(causes);
    match cause {
        Some(cause) => format!("{}: {cause}", status.code()),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// The last cause says most: the others say that something failed.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

fn zipped(batch: &[u8]) -> Result<Bytes, Refused> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    let zipped = zip.write_all(batch).and_then(|()| zip.finish());
    zipped.map(Bytes::from).map_err(|error| Refused { why: error.to_string(), passes: false })
}

/// Messages that are bytes already, and answers of which nothing is read.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}
