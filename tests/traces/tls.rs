//! A collector behind TLS with a private CA and a client certificate, by gRPC and by HTTP.

use shiftgate::api::sim::Behaviour;

use crate::authority::*;
use crate::receiver::Receiver;
use crate::shape::*;
use crate::support::*;

/// Sends one request through a sidecar that exports to `127.0.0.1`, whose certificate is for `name`; returns the spans
/// that the collector received and the number lost.
async fn export(by_http: bool, name: &str, trusted: &Authority, used: &Authority) -> (usize, u64) {
    let receiver = Receiver::start().await;
    let plain = receiver.grpc().trim_start_matches("http://").parse().unwrap();
    let (front, _) = tls_front(used, name, !by_http, plain).await;
    let folder = tempfile::tempdir().unwrap();
    let (_, chain, key) = leaf(used, "sidecar");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let vars = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", write("ca.pem", &trusted.pem)),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", write("client.pem", &chain)),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", write("client-key.pem", &key.serialize_pem())),
    ];
    let (openai, qwen) = pair(Behaviour::default()).await;
    let url = format!("https://{front}{}", if by_http { "/v1/traces" } else { "" });
    let running = launch_traced(&traced(&openai, &qwen, &url, ""), &vars).await;
    assert_eq!(ask(&running, &chat("x", true), "").await.status, 200);
    let stats = finish(running).await;
    (receiver.spans().len(), stats.telemetry.dropped_failed.get())
}

#[tokio::test]
async fn a_collector_is_reached_by_tls_and_has_to_be_the_one() {
    let (ours, other) = (authority("ours"), authority("other"));
    for by_http in [false, true] {
        assert_eq!(export(by_http, "127.0.0.1", &ours, &ours).await, (2, 0), "by http: {by_http}");
        let expired = format!("127.0.0.1{EXPIRED}");
        for (name, used) in [("localhost", &ours), (expired.as_str(), &ours), ("127.0.0.1", &other)] {
            assert_eq!(export(by_http, name, &ours, used).await, (0, 2), "{name}, by http: {by_http}");
        }
    }
}
