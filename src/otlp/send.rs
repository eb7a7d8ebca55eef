//! Sending of one encoded batch: a gRPC call, or a POST.

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

use super::dial::{CollectorConnector, ConnectError, HttpSender};
use super::settings::{Protocol, Settings};

/// The gRPC method.
const CALL: PathAndQuery = PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

/// The collector did not accept a batch.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct ExportError {
    pub(super) why: String,
    /// True if the specification allows a retry.
    pub(super) is_retryable: bool,
    /// Wait that the collector asks for.
    pub(super) retry_after: Option<Duration>,
}

impl ExportError {
    pub(super) const fn of(why: String, is_retryable: bool) -> Self {
        Self { why, is_retryable, retry_after: None }
    }
}

/// OTLP's partial success: the number of spans that the collector rejected from an accepted batch, and the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    pub(super) rejected: u64,
    pub(super) why: String,
}

/// A client of one collector.
#[derive(Debug)]
pub(super) enum Transport {
    Grpc { client: Box<Grpc<Channel>>, headers: HeaderMap },
    Http { client: Box<HttpSender>, uri: Uri, headers: HeaderMap, gzip: bool },
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self, ConnectError> {
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
                let uri = settings.endpoint.parse().map_err(|_| ConnectError::Url)?;
                Ok(Self::Http {
                    client: Box::new(HttpSender::new(CollectorConnector::new(settings, false)?)),
                    uri,
                    headers,
                    gzip: settings.gzip,
                })
            }
        }
    }

    /// Sends a batch, an encoded `ExportTraceServiceRequest`.
    pub(super) async fn send(&mut self, batch: Bytes) -> Result<PartialSuccess, ExportError> {
        match self {
            Self::Grpc { client, headers } => call(client, headers, batch).await,
            Self::Http { client, uri, headers, gzip } => {
                let (body, encoding) = if *gzip { (compressed(&batch)?, Some("gzip")) } else { (batch, None) };
                let mut request = Request::new(body);
                *request.method_mut() = http::Method::POST;
                *request.uri_mut() = uri.clone();
                *request.headers_mut() = headers.clone();
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                if let Some(encoding) = encoding {
                    request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
                }
                let answer = client.send_bytes(request).await;
                let answer = answer.map_err(|error| ExportError::of(causes(error.as_ref()), true))?;
                match answer.status() {
                    status if status.is_success() => Ok(partial_success(answer.into_body())),
                    status => {
                        let retry_after =
                            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                        let retry_after = retry_after.map(Duration::from_secs);
                        Err(ExportError {
                            why: format!("it answered {status}"),
                            is_retryable: is_retryable(status),
                            retry_after,
                        })
                    }
                }
            }
        }
    }
}

/// Makes a gRPC channel, which connects when it is used.
pub(super) fn channel(settings: &Settings) -> Result<Channel, ConnectError> {
    let connector = CollectorConnector::new(settings, true)?;
    let endpoint = tonic::transport::Endpoint::from_shared(settings.endpoint.clone()).map_err(|_| ConnectError::Url)?;
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn call(client: &mut Grpc<Channel>, headers: &HeaderMap, batch: Bytes) -> Result<PartialSuccess, ExportError> {
    let error = |status: &Status| ExportError::of(of_status(status), is_retryable_code(status.code()));
    client.ready().await.map_err(|error| ExportError::of(causes(&error), true))?;
    let mut request = tonic::Request::new(batch);
    *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
    client.unary(request, CALL, RawCodec).await.map(tonic::Response::into_inner).map_err(|status| error(&status))
}

/// Reads an answer. One that is not such a message reports no rejected spans.
fn partial_success(answer: impl Buf) -> PartialSuccess {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.map_or_else(PartialSuccess::default, |partial| PartialSuccess {
        rejected: partial.rejected_spans.try_into().unwrap_or(0),
        why: partial.error_message,
    })
}

/// True if the specification allows a retry (OTLP §"Failures").
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn is_retryable_code(code: Code) -> bool {
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

/// Returns the last cause of an error; the others only say that something failed.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

fn compressed(batch: &[u8]) -> Result<Bytes, ExportError> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = zip.write_all(batch).and_then(|()| zip.finish());
    compressed.map(Bytes::from).map_err(|error| ExportError::of(error.to_string(), false))
}

/// Codec for requests that are encoded already.
#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = PartialSuccess;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = PartialSuccess;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<PartialSuccess>, Status> {
        Ok(Some(partial_success(from)))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    use proptest::prelude::*;
    use prost::Message;

    use super::{PartialSuccess, partial_success};

    proptest! {
        #[test]
        fn rejected_spans_are_read(rejected in 0..i64::MAX, why in ".{0,40}") {
            let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: why.clone() };
            let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
            prop_assert_eq!(partial_success(answer.as_slice()), PartialSuccess { rejected: rejected.unsigned_abs(), why });
        }

        #[test]
        fn no_answer_panics(answer: Vec<u8>) {
            drop(partial_success(answer.as_slice()));
        }
    }

    #[test]
    fn most_answers_report_nothing() {
        assert_eq!(
            partial_success(ExportTraceServiceResponse::default().encode_to_vec().as_slice()),
            PartialSuccess::default()
        );
    }
}
