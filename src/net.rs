//! The one choke point of the network.
//!
//! Only the remote engine and the downloader in `models/` open connections, and both ask here first. With `--offline`
//! (or `HF_HUB_OFFLINE=1`) every address that is not this machine's own loopback is refused.

use crate::error::{Result, bail};

/// What may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    offline: bool,
}

impl Network {
    /// A policy; `offline` refuses everything but loopback.
    #[must_use]
    pub fn new(offline: bool) -> Self {
        Self { offline }
    }

    /// Whether only loopback may be reached.
    #[must_use]
    pub fn is_offline(self) -> bool {
        self.offline
    }

    /// Refuses `host` when this policy forbids it. `purpose` completes "cannot …" in the message.
    pub fn permit(self, host: &str, purpose: &str) -> Result<()> {
        if self.offline && !is_loopback(host) {
            bail!(
                "cannot {purpose}: the network is off (--offline or HF_HUB_OFFLINE=1) and {host} is not this machine; \
                 drop the flag, or use what is in the local cache"
            );
        }
        Ok(())
    }
}

/// Whether `host` (a name or an address, without a port) is this machine's loopback.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_lets_loopback_through_and_nothing_else() {
        let network = Network::new(true);
        for host in ["127.0.0.1", "localhost", "[::1]", "::1", "127.9.9.9"] {
            assert!(network.permit(host, "call the model").is_ok(), "{host}");
        }
        for host in ["example.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com"] {
            assert!(network.permit(host, "call the model").is_err(), "{host}");
        }
    }
}
