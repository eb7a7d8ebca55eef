//! A batch on its way: gRPC's one call, or one POST, with the bytes as they are.

use std::io::Write;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use opentelemetry_http::HttpClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
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
    /// When, as the collector says.
    pub(super) after: Option<Duration>,
}

impl Refused {
    pub(super) const fn of(why: String, passes: bool) -> Self {
        Self { why, passes, after: None }
    }
}

/// What a collector says of a batch that it took: how many spans it left out, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) rejected: u64,
    pub(super) why: String,
}

/// The way to one collector.
#[derive(Debug)]
pub(super) enum Way {
    Grpc { client: Box<Grpc<Channel>>, headers: HeaderMap },
    Http { client: Box<Posts>, uri: Uri, headers: HeaderMap, gzip: bool },
}

impl Way {
    pub(super) fn new(settings: &Settings) -> Result<Self, DialError> {
        let headers = settings.headers.clone();
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

    pub(super) async fn send(&mut self, batch: Bytes) -> Result<Taken, Refused> {
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
                let answer = answer.map_err(|error| Refused::of(causes(error.as_ref()), true))?;
                match answer.status() {
                    status if status.is_success() => Ok(taken(answer.into_body())),
                    status => {
                        let after =
                            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                        let after = after.map(Duration::from_secs);
                        Err(Refused { why: format!("it answered {status}"), passes: is_passing(status), after })
                    }
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

async fn call(client: &mut Grpc<Channel>, headers: &HeaderMap, batch: Bytes) -> Result<Taken, Refused> {
    let refused = |status: &Status| Refused::of(of_status(status), is_passing_code(status.code()));
    client.ready().await.map_err(|error| Refused::of(causes(&error), true))?;
    let mut request = tonic::Request::new(batch);
    *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
    client.unary(request, CALL, Raw).await.map(tonic::Response::into_inner).map_err(|status| refused(&status))
}

/// What is no such message says nothing: the batch was taken.
fn taken(answer: impl Buf) -> Taken {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.map_or_else(Taken::default, |partial| Taken {
        rejected: partial.rejected_spans.try_into().unwrap_or(0),
        why: partial.error_message,
    })
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
    zipped.map(Bytes::from).map_err(|error| Refused::of(error.to_string(), false))
}

/// Messages that are bytes already.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Taken;
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
    type Item = Taken;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Taken>, Status> {
        Ok(Some(taken(from)))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    use proptest::prelude::*;
    use prost::Message;

    use super::{Taken, taken};

    proptest! {
        #[test]
        fn what_was_left_out_is_read(rejected in 0..i64::MAX, why in ".{0,40}") {
            let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: why.clone() };
            let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
            prop_assert_eq!(taken(answer.as_slice()), Taken { rejected: rejected.unsigned_abs(), why });
        }

        #[test]
        fn whatever_comes_is_survived(answer: Vec<u8>) {
            drop(taken(answer.as_slice()));
        }
    }

    #[test]
    fn most_say_nothing() {
        assert_eq!(taken(ExportTraceServiceResponse::default().encode_to_vec().as_slice()), Taken::default());
    }
}
