//! Accepting the application's connections: TCP or a unix socket, HTTP/1.1 or h2c.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::intake::MAX_FIELDS;
use super::shared::Proxy;
use super::{connection, respond};
use crate::config::Listen;
use http::StatusCode;

/// A connection's buffers hold a head with its target and line ends; of an answer that is not read no more is kept.
const BESIDE_HEAD: usize = 16 * 1024;
const MAX_H2_STREAMS: u32 = 100;
/// What an HTTP/2 application may send ahead of being read: on a stream, and on all of a connection.
const H2_STREAM_WINDOW: u32 = 256 << 10;
const H2_WINDOW: u32 = 1 << 20;
/// Streams reset by the peer before they were looked at, and by us for its errors: one more ends the connection
/// (rapid reset, CVE-2023-44487; made-you-reset, CVE-2025-8671).
const H2_RESETS: usize = 20;
const H2_ERRORS: usize = 100;
/// After an accept that failed for want of descriptors or memory, others may end first.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Connections over the limit that are told so at once, and how long each may take to hear it.
const MAX_REFUSING: u64 = 256;
const LINGER: Duration = Duration::from_millis(500);
/// So long without such a failure, and the next one is news again.
const OUTAGE_OVER: Duration = Duration::from_secs(5);

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{key} {address} is already in use: stop what listens there, or choose another port (0 takes a free one)")]
    Taken { key: &'static str, address: String },
    #[error(
        "a socket of LISTEN_FDS cannot be listened on: {0}; pass listening stream sockets, listen first, then admin"
    )]
    Inherited(io::Error),
    #[error("{key} {address} cannot be listened on: {cause}")]
    Io { key: &'static str, address: String, cause: io::Error },
}

impl BindError {
    pub fn new(key: &'static str, address: impl ToString, cause: io::Error) -> Self {
        let address = address.to_string();
        match cause.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { key, address },
            _ => Self::Io { key, address, cause },
        }
    }

    pub const fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// The file is removed with a socket of our own, not with one that was given.
    Unix(UnixListener, #[expect(dead_code, reason = "held: it removes the file")] Option<SocketFile>),
}

/// A listening socket that the process was given.
#[derive(Debug)]
pub enum Inherited {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Where applications connect.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: String,
}

/// Removed when the listener goes, so that the next start finds a free path.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already is as good as removed.
        drop(std::fs::remove_file(&self.0));
    }
}

impl Listener {
    pub async fn bind(listen: &Listen) -> Result<Self, BindError> {
        match listen {
            Listen::Tcp(address) => {
                let error = |cause| BindError::new("server.listen", address, cause);
                let socket = TcpListener::bind(address).await.map_err(error)?;
                let address = socket.local_addr().map_err(error)?;
                Ok(Self { socket: Socket::Tcp(socket), address: address.to_string() })
            }
            Listen::Unix(path) => {
                let shown = format!("unix:{}", path.display());
                let socket = bind_unix(path).await.map_err(|cause| BindError::new("server.listen", &shown, cause))?;
                Ok(Self { socket: Socket::Unix(socket, Some(SocketFile(path.clone()))), address: shown })
            }
        }
    }

    /// On a socket that whoever started the process listens on already.
    pub fn inherit(socket: Inherited) -> io::Result<Self> {
        match socket {
            Inherited::Tcp(socket) => {
                let socket = tcp_of(socket)?;
                let address = socket.local_addr()?.to_string();
                Ok(Self { socket: Socket::Tcp(socket), address })
            }
            Inherited::Unix(socket) => {
                socket.set_nonblocking(true)?;
                let path = socket.local_addr()?.as_pathname().map(|path| path.display().to_string());
                let address = format!("unix:{}", path.unwrap_or_default());
                Ok(Self { socket: Socket::Unix(UnixListener::from_std(socket)?, None), address })
            }
        }
    }

    /// As the first log line and `/status` say it.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Serves until told to close.
    pub async fn run(self, proxy: Arc<Proxy>) {
        let server = Arc::new(server(&proxy));
        let mut failed: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                () = proxy.shutdown.closing.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    // Once an outage, however long it is, and though single accepts succeed in between.
                    if failed.replace(Instant::now()).is_none_or(|last| last.elapsed() > OUTAGE_OVER) {
                        tracing::error!(%error, "cannot accept connections: waiting for some to end");
                    }
                    proxy.stats.close("not_accepted");
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                }
                Ok(Accepted::Tcp(stream)) => admit(&proxy, &server, stream),
                Ok(Accepted::Unix(stream)) => admit(&proxy, &server, stream),
            }
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream))
            }
            Socket::Unix(socket, _) => Ok(Accepted::Unix(socket.accept().await?.0)),
        }
    }
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    Unix(UnixStream),
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

fn server(proxy: &Proxy) -> auto::Builder<TokioExecutor> {
    let head = proxy.store.current().snapshot.config.limits.head;
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().max_headers(MAX_FIELDS).max_buf_size(head.saturating_add(BESIDE_HEAD));
    server
        .http2()
        .max_concurrent_streams(MAX_H2_STREAMS)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_WINDOW)
        .max_pending_accept_reset_streams(H2_RESETS)
        .max_local_error_reset_streams(H2_ERRORS);
    server
}

fn admit<S>(proxy: &Arc<Proxy>, server: &Arc<auto::Builder<TokioExecutor>>, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limit = proxy.store.current().snapshot.config.limits.connections as u64;
    let Some(counted) = proxy.stats.connections.try_acquire(1, limit) else {
        proxy.stats.refused_connections.add(1);
        // Above this bound they are closed without an answer.
        if let Some(refusing) = proxy.stats.refusing.try_acquire(1, MAX_REFUSING) {
            proxy.shutdown.tasks.spawn(async move {
                let _refusing = refusing;
                // A client that does not read the refusal loses it.
                drop(tokio::time::timeout(LINGER, tell_full(&mut stream)).await);
            });
        }
        return;
    };
    let serving = connection::serve(Arc::clone(proxy), Arc::clone(server), stream);
    proxy.shutdown.tasks.spawn(async move {
        let _counted = counted;
        serving.await;
    });
}

/// What it has sent is read away: a connection closed with bytes unread is reset, and the refusal with it.
async fn tell_full<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.write_all(&respond::without_request(StatusCode::SERVICE_UNAVAILABLE)).await?;
    stream.shutdown().await?;
    tokio::io::copy(stream, &mut tokio::io::sink()).await.map(drop)
}

/// A given socket, made ready for the runtime.
pub(crate) fn tcp_of(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Binds with mode 0600; a socket left behind by a process that is gone is replaced.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    // Made private before it gets its name: nobody can connect in between.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let hidden = tempfile::Builder::new().prefix(".shiftgate-").tempdir_in(folder)?;
    let private = hidden.path().join("s");
    let socket = UnixListener::bind(&private)?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))?;
    if path.exists() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    std::fs::rename(&private, path)?;
    Ok(socket)
}
