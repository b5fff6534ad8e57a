//! A listening port that can be closed, so that the kernel refuses connections, and opened again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::sleep,
};

/// Connections that the kernel queues.
const BACKLOG: u32 = 1024;
/// The pause after a failed bind or accept.
const PAUSE: Duration = Duration::from_millis(20);

/// On drop it cuts all connections.
pub(super) struct Listener {
    addr: SocketAddr,
    shut: watch::Sender<bool>,
}

impl Listener {
    /// Hands each connection to `serve`.
    pub async fn open<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> io::Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shut = watch::Sender::new(false);
        tokio::spawn(stand(addr, listener, serve, shut.subscribe()));
        Ok(Self { addr, shut })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn shut(&self, shut: bool) {
        self.shut.send_replace(shut);
    }
}

async fn stand<F>(
    addr: SocketAddr,
    mut listener: TcpListener,
    serve: impl Fn(TcpStream) -> F + Sync,
    mut shut: watch::Receiver<bool>,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        let cut = shut.clone();
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(until_shut(serve(stream), cut.clone()))),
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        tokio::select! {
            () = accept => {}
            changed = shut.wait_for(|shut| *shut) => if changed.is_err() { return },
        }
        // Bound but not listening: connections are refused, and no other process can take the port.
        drop(listener);
        let socket = loop {
            match bind(addr) {
                Ok(socket) => break socket,
                Err(_) => sleep(PAUSE).await,
            }
        };
        if shut.wait_for(|shut| !*shut).await.is_err() {
            return;
        }
        listener = match socket.listen(BACKLOG) {
            Ok(listener) => listener,
            Err(_) => return,
        };
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Dropping the future ends the connection. With a half-read call the kernel sends a reset.
async fn until_shut(serving: impl Future<Output = io::Result<()>>, mut cut: watch::Receiver<bool>) {
    tokio::select! {
        _ = serving => {}
        _ = cut.wait_for(|shut| *shut) => {}
    }
}
