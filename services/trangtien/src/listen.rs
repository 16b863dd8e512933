//! Listening: `localhost` means both 127.0.0.1 and [::1], because browsers and passkeys ask for it by name and either may come first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};

/// How many ports after the default one are tried.
const MAX_NEXT_PORTS: u16 = 100;
/// How often a free port is picked anew when only one of the two families got it.
const MAX_PICKS: usize = 20;

/// How a port is refused that another program has.
pub(crate) const TAKEN: &str = "is taken by another program";

/// Bound sockets of one port, ready to be served.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
    host: String,
    port: u16,
}

impl Bound {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://host:port`; a wildcard address is shown as `localhost`.
    #[must_use]
    pub fn url(&self) -> String {
        let wildcard =
            matches!(self.host.parse(), Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) | Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        match self.host.parse::<IpAddr>() {
            _ if wildcard => format!("http://localhost:{}", self.port),
            Ok(address) => format!("http://{}", SocketAddr::new(address, self.port)),
            Err(_) => format!("http://{}:{}", self.host, self.port),
        }
    }

    /// The sockets for the runtime, which must be running.
    ///
    /// # Errors
    /// When a socket can't be given to the runtime.
    pub fn into_listeners(self) -> std::io::Result<Vec<tokio::net::TcpListener>> {
        self.listeners
            .into_iter()
            .map(|listener| {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener)
            })
            .collect()
    }
}

/// Binds `host:port`; port 0 picks a free one.
///
/// # Errors
/// When the text is not `host:port` or the port is taken.
pub fn bind(text: &str) -> anyhow::Result<Bound> {
    let (host, port) = split(text)?;
    let picks = if port == 0 { MAX_PICKS } else { 1 };
    for pick in 1..=picks {
        match bind_all(&host, port) {
            Ok(bound) => return Ok(bound),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && pick < picks => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                bail!("port {port} {TAKEN}; give another one with --http {host}:PORT")
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {text}")),
        }
    }
    bail!("no free port was found for {host}")
}

/// Binds the first free port from that of `text` on.
///
/// # Errors
/// When none of the next hundred is free.
pub fn bind_next_free(text: &str) -> anyhow::Result<Bound> {
    let (host, first) = split(text)?;
    for port in first..first.saturating_add(MAX_NEXT_PORTS) {
        match bind_all(&host, port) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            other => return other.with_context(|| format!("cannot listen on {host}:{port}")),
        }
    }
    bail!("ports {first} to {} are all taken", first.saturating_add(MAX_NEXT_PORTS))
}

fn split(text: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = text.rsplit_once(':').with_context(|| format!("{text:?} is not host:port"))?;
    let port = port.parse().with_context(|| format!("{port:?} is not a port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        bail!("{text:?} has no host; localhost:{port} is meant for this machine only, 0.0.0.0:{port} for the network");
    }
    Ok((host.to_owned(), port))
}

fn bind_all(host: &str, port: u16) -> std::io::Result<Bound> {
    if host != "localhost" {
        let listener = TcpListener::bind((host, port))?;
        let port = listener.local_addr()?.port();
        return Ok(Bound { listeners: vec![listener], host: host.to_owned(), port });
    }
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = v4.local_addr()?.port();
    let mut listeners = vec![v4];
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        Ok(v6) => listeners.push(v6),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(error),
        // A machine without IPv6.
        Err(_) => {}
    }
    Ok(Bound { listeners, host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_when_asked_for_and_passed_over_otherwise() {
        let first = bind("localhost:0").expect("a free port");
        let text = format!("localhost:{}", first.port());
        assert!(bind(&text).expect_err("taken").to_string().contains("is taken"));
        assert!(bind_next_free(&text).expect("another one").port() > first.port());
        assert_eq!(first.url(), format!("http://localhost:{}", first.port()));
    }

    #[test]
    fn addresses_are_shown_as_one_can_reach_them() {
        let wildcard = bind("0.0.0.0:0").expect("a free port");
        assert_eq!(wildcard.url(), format!("http://localhost:{}", wildcard.port()));
        assert!(bind(":8080").is_err());
        assert!(bind("localhost").is_err());
    }
}
