//! TLS towards backends: rustls with aws-lc-rs, and the roots of the system or of `tls.ca`.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use crate::config::TlsFiles;

/// Reason for which TLS cannot be set up for a backend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of `tls.ca` or the client's chain is not PEM.
    #[error("{path} is not a PEM certificate: {cause}; write the certificates in PEM form")]
    Certificate {
        /// Path of the file.
        path: String,
        /// Text of the parser.
        cause: String,
    },
    /// The client's key is not PEM.
    #[error("{path} is not a PEM private key; write the key in PEM form")]
    Key {
        /// Path of the file.
        path: String,
    },
    /// The system has no root certificates.
    #[error(
        "the system has no usable root certificates ({0}); install them (ca-certificates), or name a file in tls.ca"
    )]
    NoRoots(String),
    /// rustls rejects the certificates or the key.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// Returns the crypto provider that the whole process uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Builds the TLS settings of one backend; called when the file is read, never on the request path.
pub(crate) fn client_config(files: Option<&TlsFiles>, h2: bool) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let verifier: Arc<dyn ServerCertVerifier> = match files.and_then(|files| files.ca.as_ref()) {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&ca.path.display().to_string(), &ca.pem)? {
                roots.add(certificate)?;
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|cause| {
                TlsError::Certificate { path: ca.path.display().to_string(), cause: cause.to_string() }
            })?
        }
        None => platform_verifier()?,
    };
    // rustls calls a custom verifier "dangerous"; this one is the platform's or webpki's.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match files.and_then(|files| files.client.as_ref()) {
        Some((chain, key)) => {
            let key_der = PrivateKeyDer::from_pem_slice(key.pem.expose().as_bytes())
                .map_err(|_| TlsError::Key { path: key.path.display().to_string() })?;
            builder.with_client_auth_cert(certificates(&chain.path.display().to_string(), &chain.pem)?, key_der)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = if h2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

/// Returns the system's verifier. Reading the roots takes milliseconds, so it happens once per process.
fn platform_verifier() -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    static VERIFIER: OnceLock<Arc<Verifier>> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>);
    }
    let made = Verifier::new(provider()).map_err(|cause| TlsError::NoRoots(cause.to_string()))?;
    Ok(Arc::clone(VERIFIER.get_or_init(|| Arc::new(made))) as Arc<dyn ServerCertVerifier>)
}

fn certificates(path: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |cause: String| TlsError::Certificate { path: path.to_owned(), cause };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|cause| error(cause.to_string()))?;
    if found.is_empty() { Err(error("the file has no certificate".to_owned())) } else { Ok(found) }
}
