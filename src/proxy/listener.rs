//! Accepts connections of applications over TCP or a unix socket, for HTTP/1.1 or h2c.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::SocketAddr as UnixAddress;
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

/// Bytes that a connection's buffers have in addition to a head: target, line ends, and unread parts of an answer.
const BESIDE_HEAD: usize = 16 * 1024;
const MAX_H2_STREAMS: u32 = 100;
/// Limits, in bytes, of what an HTTP/2 client may send before it is read: per stream and per connection.
const H2_STREAM_WINDOW: u32 = 256 << 10;
const H2_WINDOW: u32 = 1 << 20;
/// Limits of streams reset by the peer before they were processed, and by shiftgate for errors; one more ends the
/// connection (rapid reset, CVE-2023-44487; made-you-reset, CVE-2025-8671).
const H2_RESETS: usize = 20;
const H2_ERRORS: usize = 100;
/// Pause after an accept failed for lack of file descriptors or memory; connections may end meanwhile.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Limit of connections over `limits.connections` that get a 503 at once, and the time limit of sending it.
const MAX_REFUSING: u64 = 256;
const LINGER: Duration = Duration::from_millis(500);
/// Time without accept failures after which the next failure is logged again.
const OUTAGE_OVER: Duration = Duration::from_secs(5);

/// Reason for which a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens on the address.
    #[error("{key} {address} is already in use: stop what listens there, or choose another port (0 takes a free one)")]
    Taken {
        /// Key in the file.
        key: &'static str,
        /// The address, as configured.
        address: String,
    },
    /// An inherited socket cannot be used.
    #[error(
        "a socket of LISTEN_FDS cannot be listened on: {0}; pass listening stream sockets, listen first, then admin"
    )]
    Inherited(io::Error),
    /// Any other failure to bind.
    #[error("{key} {address} cannot be listened on: {cause}")]
    Io {
        /// Key in the file.
        key: &'static str,
        /// The address, as configured.
        address: String,
        /// The system's error.
        cause: io::Error,
    },
}

impl BindError {
    /// Classifies an error of binding `address`, which `key` of the file names.
    pub fn new(key: &'static str, address: impl ToString, cause: io::Error) -> Self {
        let address = address.to_string();
        match cause.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { key, address },
            _ => Self::Io { key, address, cause },
        }
    }

    /// True if another process listens on the address.
    pub const fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// Only a socket file made by this process is removed.
    Unix(UnixListener, #[expect(dead_code, reason = "held: it removes the file")] Option<SocketFile>),
}

/// A listening socket inherited from the parent process.
#[derive(Debug)]
pub enum Inherited {
    /// TCP socket.
    Tcp(std::net::TcpListener),
    /// Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Listening socket for applications.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: String,
}

/// Path of a socket file that is removed when the listener is dropped, so that the next start finds it free.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is already gone is fine.
        drop(std::fs::remove_file(&self.0));
    }
}

impl Listener {
    /// Binds to the address of `server.listen`.
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

    /// Creates a listener from a socket that the parent process listens on.
    pub fn inherit(socket: Inherited) -> io::Result<Self> {
        match socket {
            Inherited::Tcp(socket) => {
                let socket = tcp_of(socket)?;
                let address = socket.local_addr()?.to_string();
                Ok(Self { socket: Socket::Tcp(socket), address })
            }
            Inherited::Unix(socket) => {
                socket.set_nonblocking(true)?;
                is_listening(&socket)?;
                let address = format!("unix:{}", shown(&socket.local_addr()?));
                Ok(Self { socket: Socket::Unix(UnixListener::from_std(socket)?, None), address })
            }
        }
    }

    /// Address as the first log line and `/status` show it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bound TCP address; `None` for a unix socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Accepts connections until shutdown closes the listener.
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
                    // Logged once per outage, even if single accepts succeed in between.
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
                // It fails for a connection that is gone already, which its first read finds.
                drop(stream.set_nodelay(true));
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

/// True if the failure is of the connection that would have been accepted. EINVAL is not: then the socket itself no
/// longer listens, and the next call fails at once too.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
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
        // Above this limit connections are closed without an answer.
        if let Some(refusing) = proxy.stats.refusing.try_acquire(1, MAX_REFUSING) {
            proxy.shutdown.tasks.spawn(async move {
                let _refusing = refusing;
                // The 503 is best-effort: a slow client loses it.
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

/// Sends a 503 and drains the client's bytes: closing with unread bytes would reset the connection and lose the answer.
async fn tell_full<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.write_all(&respond::without_request(StatusCode::SERVICE_UNAVAILABLE)).await?;
    stream.shutdown().await?;
    tokio::io::copy(stream, &mut tokio::io::sink()).await.map(drop)
}

/// Prepares an inherited socket for the runtime.
pub(crate) fn tcp_of(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    is_listening(&socket)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Refuses a socket that is bound or connected only: it would be ready at once, and accept nobody.
fn is_listening(socket: impl AsFd) -> io::Result<()> {
    // Apple's systems have no such question.
    #[cfg(not(target_vendor = "apple"))]
    let is_listening = rustix::net::sockopt::socket_acceptconn(&socket)?;
    #[cfg(target_vendor = "apple")]
    let is_listening = true;
    if is_listening {
        return Ok(());
    }
    Err(io::Error::other(format!("fd {} does not listen", socket.as_fd().as_raw_fd())))
}

/// Returns a path, or an abstract name as `@name`, its usual form.
fn shown(address: &UnixAddress) -> String {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = address.as_abstract_name() {
            return format!("@{}", String::from_utf8_lossy(name));
        }
    }
    address.as_pathname().map(|path| path.display().to_string()).unwrap_or_default()
}

/// Binds with mode 0600; replaces a socket whose process is gone.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    // Made private before it gets its name, so that no other user can connect in between.
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
