//! Reads `tls` and the PEM files that it names.

use std::path::PathBuf;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::super::context::{Context, Secrets, read_secret_file};
use super::super::problem::Problems;
use super::super::reader::{Section, Value, string};
use super::super::types::{BackendUrl, PemFile, PemKey, TlsFiles};
use crate::model::Secret;

/// Reads the CA and the client certificate with its key.
pub(super) fn read(
    value: &Value<'_>,
    url: Option<&BackendUrl>,
    context: &Context<'_>,
    p: &mut Problems<'_>,
) -> Option<TlsFiles> {
    if url.is_some_and(|url| !url.is_https()) {
        p.add(&value.span(), "tls is given for a url that is not https", "write an https url, or leave tls out");
    }
    let mut s = Section::new("tls", value, p);
    let ca = s.get("ca").and_then(|value| pem("ca", value, context, p));
    let cert = s.get("cert").map(|value| pem("cert", value, context, p));
    let key = s.get("key").map(|value| pem("key", value, context, p));
    s.finish(p);
    let client = match (cert, key) {
        (Some(Some(cert)), Some(Some(key))) => {
            let pem = Secret::new(String::from_utf8_lossy(&key.pem));
            Some((cert, PemKey { path: key.path, pem }))
        }
        (Some(_), None) | (None, Some(_)) => {
            p.add(&value.span(), "tls has only one of cert and key", "give both, or neither");
            None
        }
        _ => None,
    };
    Some(TlsFiles { ca, client })
}

fn pem(name: &str, value: &Value<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<PemFile> {
    let path: PathBuf = match string(value) {
        Ok(path) => context.resolve(path),
        Err(wrong) => {
            p.add(&value.span(), format!("tls.{name} {}", wrong.what), wrong.cure);
            return None;
        }
    };
    p.watched.push(path.clone());
    let pem = match read_secret_file(&path) {
        Ok(pem) => pem,
        Err(_) if context.secrets == Secrets::Skip => return None,
        Err(error) => {
            let message = format!("tls.{name}: the file {} cannot be read: {error}", path.display());
            p.add(&value.span(), message, "put the PEM file there, or correct the path");
            return None;
        }
    };
    let is_valid = match name {
        "key" => PrivateKeyDer::from_pem_slice(&pem).is_ok(),
        _ => matches!(CertificateDer::pem_slice_iter(&pem).next(), Some(Ok(_))),
    };
    if !is_valid {
        let what = if name == "key" { "private key" } else { "certificate" };
        p.add(&value.span(), format!("tls.{name}: {} does not contain a {what}", path.display()), "give a PEM file");
        return None;
    }
    Some(PemFile { path, pem })
}
