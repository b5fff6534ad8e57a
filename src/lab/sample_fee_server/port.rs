//! The listening port: open, or shut so that the kernel refuses whoever calls.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::select;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Inner;
use super::connection::Connection;

/// Clients that the kernel lets wait for being accepted.
const BACKLOG: u32 = 1024;

/// Pause after a failed accept: mostly the process is out of file descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) enum Port {
    Open {
        addr: SocketAddr,
        /// Cancelling it ends the listening and cuts every connection.
        everything: CancellationToken,
        accepting: JoinHandle<()>,
        connections: TaskTracker,
    },
    /// Bound but not listening: connections are refused, and nobody else can take the port meanwhile.
    Shut(TcpSocket),
}

impl Port {
    /// A port that is bound, but not open yet.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Connections of a former life that linger in TIME_WAIT must not hinder us.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(Self::Shut(socket))
    }

    pub fn addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open { addr, .. } => Ok(*addr),
            Self::Shut(socket) => socket.local_addr(),
        }
    }

    /// Takes calls from now on; an open port stays as it is.
    pub fn open(self, server: &Arc<Inner>) -> io::Result<Self> {
        let Self::Shut(socket) = self else { return Ok(self) };
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        let everything = server.all_connections.child_token();
        let connections = TaskTracker::new();
        let accepting = accept(listener, Arc::clone(server), everything.clone(), connections.clone());
        let accepting = server.work.spawn(accepting);
        Ok(Self::Open { addr, everything, accepting, connections })
    }

    /// Cuts all connections and refuses new ones; a shut port stays as it is.
    pub async fn shut(self) -> io::Result<Self> {
        let Self::Open { addr, everything, accepting, connections } = self else { return Ok(self) };
        everything.cancel();
        // The listener must be gone before the port can be bound anew.
        let _ = accepting.await;
        connections.close();
        connections.wait().await;
        Self::bind(addr)
    }
}

async fn accept(listener: TcpListener, server: Arc<Inner>, everything: CancellationToken, connections: TaskTracker) {
    loop {
        let accepted = select! {
            accepted = listener.accept() => accepted,
            () = everything.cancelled() => return,
            () = server.closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = Connection::new(Arc::clone(&server), everything.child_token());
                server.work.spawn(connections.track_future(connection.serve(stream)));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
