//! A TCP proxy before PostgreSQL that loses the answer to a COMMIT, or the COMMIT itself.
//!
//! A batch that only moves money is one statement that commits by itself: it is known by the channel that it notifies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How late answers are under [`Fault::Slow`].
const SLOWNESS: Duration = Duration::from_millis(8);

/// What the proxy does with the next COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    /// Passes everything.
    None = 0,
    /// Passes the COMMIT, waits until the server has answered, and cuts the connection instead of passing the answer.
    LoseAnswer = 1,
    /// Cuts the connection instead of passing the COMMIT.
    LoseCommit = 2,
    /// As [`Fault::LoseAnswer`], and refuses every connection from then on.
    LoseAnswerAndStay = 3,
    /// Refuses connections and cuts those that speak.
    Away = 4,
    /// Passes every answer [`SLOWNESS`] late.
    Slow = 5,
}

/// A running proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    fault: Arc<AtomicU8>,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens before the server of `url`.
    pub(crate) async fn start(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().expect("a URL");
        let target = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let proxy = Self { port, fault: Arc::default(), cuts: Arc::default() };
        let running = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if running.fault() == Fault::Away as u8 {
                    continue;
                }
                let server = TcpStream::connect(&target).await.expect("the server listens");
                tokio::spawn(running.clone().pass(client, server));
            }
        });
        proxy
    }

    /// A pool through the proxy, as the role of `url`.
    pub(crate) fn pool(&self, url: &str) -> PgPool {
        let options: PgConnectOptions = url.parse().expect("a URL");
        let options = options.host("127.0.0.1").port(self.port);
        PgPoolOptions::new().acquire_timeout(Duration::from_millis(500)).connect_lazy_with(options)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// How many connections were cut at a COMMIT.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }

    fn fault(&self) -> u8 {
        self.fault.load(Ordering::SeqCst)
    }

    async fn pass(self, mut client: TcpStream, mut server: TcpStream) {
        let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
        let mut in_transaction = false;
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(bytes @ 1..) = read else { return };
                    let message = &asked[..bytes];
                    let has = |word: &[u8]| message.windows(word.len()).any(|part| part == word);
                    in_transaction |= has(b"BEGIN");
                    let commit = has(b"COMMIT\0") || (!in_transaction && has(ledger::journal::CHANNEL.as_bytes()));
                    in_transaction &= !commit;
                    let fault = self.fault();
                    if fault == Fault::Away as u8 || (commit && fault == Fault::LoseCommit as u8) {
                        self.cut(Fault::None);
                        return;
                    }
                    if server.write_all(message).await.is_err() {
                        return;
                    }
                    if commit && (fault == Fault::LoseAnswer as u8 || fault == Fault::LoseAnswerAndStay as u8) {
                        // Until it is ready for the next query.
                        loop {
                            let bytes = server.read(&mut answered).await.expect("the server answers a commit");
                            assert!(bytes > 0, "the server answers before it closes");
                            if answered[..bytes].windows(5).any(|part| part == b"Z\0\0\0\x05") {
                                break;
                            }
                        }
                        self.cut(if fault == Fault::LoseAnswer as u8 { Fault::None } else { Fault::Away });
                        return;
                    }
                }
                read = server.read(&mut answered) => {
                    let Ok(bytes @ 1..) = read else { return };
                    if self.fault() == Fault::Slow as u8 {
                        tokio::time::sleep(SLOWNESS).await;
                    }
                    if client.write_all(&answered[..bytes]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn cut(&self, next: Fault) {
        if self.fault() != Fault::Away as u8 {
            self.set(next);
        }
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}
