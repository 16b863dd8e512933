//! A TCP proxy that stands between the city and a server and misbehaves on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long an accepted connection waits for the server behind the proxy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes moved at a time.
const CHUNK: usize = 16 * 1024;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything on.
    #[default]
    None,
    /// Closes every connection at once, also those that are open.
    Cut,
    /// Accepts and then says nothing, in both directions, until the fault changes.
    Hang,
    /// Passes requests on and swallows the answers: the server did it, the caller never hears.
    LoseAnswers,
    /// Delays every chunk.
    Slow(Duration),
}

/// A running proxy; stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    stop: CancellationToken,
}

impl FaultProxy {
    /// Starts a proxy on a free port of the loopback in front of `upstream`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for the proxy")?;
        let address = listener.local_addr()?;
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, upstream, fault.clone(), stop.clone()));
        Ok(Self { address, fault, stop })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to connections, open ones included.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Closes all open connections once and lets new ones pass.
    pub fn cut_once(&self) {
        self.fault.send_replace(Fault::Cut);
        self.fault.send_replace(Fault::None);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    stop: CancellationToken,
) {
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => match accepted { Ok((client, _)) => client, Err(_) => continue },
            () = stop.cancelled() => return,
        };
        let (fault, stop) = (fault.subscribe(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = carry(client, upstream, fault) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Carries one connection; an error means that a side closed, which is what proxies see all day.
async fn carry(client: TcpStream, upstream: SocketAddr, mut fault: watch::Receiver<Fault>) -> Result<()> {
    if *fault.borrow_and_update() == Fault::Cut {
        return Ok(());
    }
    let server = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(upstream)).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut cuts = fault.clone();
    tokio::select! {
        ended = pump(client_read, server_write, fault.clone(), Direction::Request) => ended,
        ended = pump(server_read, client_write, fault, Direction::Answer) => ended,
        // A cut shorter than this task's turn still counts: `changed` sees that a value came and went.
        () = cut(&mut cuts) => Ok(()),
    }
}

async fn cut(fault: &mut watch::Receiver<Fault>) {
    let mut before = *fault.borrow();
    while fault.changed().await.is_ok() {
        let now = *fault.borrow_and_update();
        if now == Fault::Cut || (before == Fault::None && now == Fault::None) {
            return;
        }
        before = now;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

async fn pump(
    from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut fault: watch::Receiver<Fault>,
    direction: Direction,
) -> Result<()> {
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        from.readable().await?;
        let read = match from.try_read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        let now = *fault.borrow_and_update();
        match now {
            Fault::None | Fault::Cut => {}
            Fault::Slow(delay) => tokio::time::sleep(delay).await,
            Fault::LoseAnswers if direction == Direction::Answer => continue,
            Fault::LoseAnswers => {}
            Fault::Hang => {
                fault.wait_for(|fault| *fault != Fault::Hang).await?;
            }
        }
        to.write_all(&chunk[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<usize> {
        stream.write_all(b"x").await?;
        stream.read(&mut [0; 1]).await
    }

    #[tokio::test]
    async fn faults_come_and_go() {
        let proxy = FaultProxy::start(echo().await).await.expect("starts");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connects");
        assert_eq!(ask(&mut stream).await.expect("echo"), 1);
        proxy.set(Fault::LoseAnswers);
        let lost = tokio::time::timeout(Duration::from_millis(200), ask(&mut stream)).await;
        assert!(lost.is_err(), "the answer is swallowed");
        proxy.set(Fault::Cut);
        assert!(matches!(ask(&mut stream).await, Ok(0) | Err(_)), "the connection is closed");
        proxy.set(Fault::None);
        let mut again = TcpStream::connect(proxy.address()).await.expect("connects");
        assert_eq!(ask(&mut again).await.expect("echo"), 1);
    }
}
