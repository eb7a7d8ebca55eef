//! The resource of all spans: attributes of this process and its pod.

use opentelemetry::KeyValue;
use percent_encoding::percent_decode_str;

use super::env::EnvReader;
use crate::config::Telemetry;

/// Attributes that a pod's environment may set, under names such as `K8S_POD_NAME`.
const K8S: [&str; 8] = [
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.cluster.name",
];

/// Reads the attributes. Later sources win: the file, the pod, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`.
pub(super) fn read(file: &Telemetry, vars: &mut EnvReader<'_>) -> Vec<KeyValue> {
    let mut attributes: Vec<(String, String)> = vec![
        ("service.name".to_owned(), file.service_name.clone()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id".to_owned(), instance(rand::random())),
    ];
    for name in K8S {
        if let Some(value) = vars.get(&name.to_ascii_uppercase().replace('.', "_")) {
            set(&mut attributes, name, value);
        }
    }
    let given = vars.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    for pair in given.split(',').filter(|pair| !pair.trim().is_empty()) {
        let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(std::borrow::Cow::into_owned);
        match pair.split_once('=').map(|(name, value)| (decoded(name), decoded(value))) {
            Some((Ok(name), Ok(value))) if !name.is_empty() => set(&mut attributes, &name, value),
            _ => vars.warn("OTEL_RESOURCE_ATTRIBUTES", pair, "is not name=value"),
        }
    }
    if let Some(name) = vars.get("OTEL_SERVICE_NAME") {
        set(&mut attributes, "service.name", name);
    }
    attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect()
}

fn set(attributes: &mut Vec<(String, String)>, name: &str, value: String) {
    attributes.retain(|(known, _)| known != name);
    attributes.push((name.to_owned(), value));
}

/// Makes a random UUID (RFC 9562 §5.4).
fn instance(random: u128) -> String {
    let id = (random & !(0xf << 76) & !(0xc << 60)) | (4 << 76) | (8 << 60);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        (id >> 96) as u32,
        (id >> 80) as u16,
        (id >> 64) as u16,
        (id >> 48) as u16,
        id & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_identifies_the_process() {
        let vars = [
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=a%20b,service.name=x,service.instance.id=i-1"),
            ("OTEL_SERVICE_NAME", "gate"),
            ("K8S_POD_NAME", "pod-7"),
        ];
        let env = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let resource = read(&Telemetry::default(), &mut EnvReader::new(&env));
        let of = |name: &str| {
            let mut found = resource.iter().filter(|pair| pair.key.as_str() == name).map(|pair| pair.value.to_string());
            (found.next(), found.next())
        };
        for (name, value) in [
            ("service.name", "gate"),
            ("service.instance.id", "i-1"),
            ("deployment.environment.name", "a b"),
            ("k8s.pod.name", "pod-7"),
            ("service.version", env!("CARGO_PKG_VERSION")),
        ] {
            assert_eq!(of(name), (Some(value.to_owned()), None), "{name}");
        }
        assert_eq!(instance(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(instance(0), "00000000-0000-4000-8000-000000000000");
    }
}
