//! Free ports for servers that are started and started again.
//!
//! They are taken from below the kernel's range for outgoing connections (32768 and up), so that no client of ours can sit on a server's port while that server restarts.
//! A port is free only when it was looked at: callers try another one when the bind fails after all.

use std::{
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
    ops::RangeInclusive,
};

const RANGE: RangeInclusive<u16> = 15_000..=32_000;
const MAX_LOOKS: usize = 200;

/// A port that nothing listens on, on 127.0.0.1 or on [::1], at this moment; `None` when 200 looks found none.
#[must_use]
pub fn free() -> Option<u16> {
    (0..MAX_LOOKS).map(|_| rand::random_range(RANGE)).find(|port| is_free(*port))
}

fn is_free(port: u16) -> bool {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
    // A machine without IPv6 cannot have the port in use there.
    let v6_in_use = matches!(&v6, Err(error) if error.kind() == std::io::ErrorKind::AddrInUse);
    v4.is_ok() && !v6_in_use
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_free() {
        let port = free().expect("a test machine has a free port");
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port was free");
        assert!(!is_free(port));
    }
}
