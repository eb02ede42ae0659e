//! Keeps what users let this box fetch away from the box itself: its own services listen on loopback
//! for good reason, and a cloud hands out its keys at a link-local address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Says why nothing may be fetched from `address`, or `None` when it may.
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    const NOTHING: &str = "is no address of one machine";
    let v6 = match address {
        IpAddr::V4(v4) => return refusal_v4(v4),
        IpAddr::V6(v6) => v6,
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(NOTHING),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("is this box itself"),
        // IPv4 in IPv6: mapped, compatible, and translated by NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            refusal_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        // 6to4.
        [0x2002, high, low, ..] => refusal_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
        // Where AWS serves the keys of a machine over IPv6.
        _ if v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) => Some("is link-local"),
        [0xfe80..=0xfebf, ..] => Some("is link-local"),
        [0xff00..=0xffff, ..] => Some(NOTHING),
        _ => None,
    }
}

fn refusal_v4(v4: Ipv4Addr) -> Option<&'static str> {
    if v4.is_loopback() {
        Some("is this box itself")
    } else if v4.is_link_local() {
        Some("is link-local")
    } else if v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast() {
        Some("is no address of one machine")
    } else {
        None
    }
}

/// Says why nothing may be fetched from a host that is written as an address: those are not resolved.
pub fn refusal_of_literal(host: &str) -> Option<&'static str> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    refusal(bare.parse().ok()?)
}

/// Looks names up, and fails for those that lead to a refused address. Asked at each connection, so
/// that a name cannot lead elsewhere the second time.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardedResolver;

#[derive(Debug, thiserror::Error)]
#[error("{host} leads to {address}, which {why}; imports may not fetch from there (storage.import_local)")]
pub(super) struct Refused {
    host: String,
    address: IpAddr,
    pub(super) why: &'static str,
}

/// Returns the refusal of a name that lies behind an error of a connection, if that is why it failed.
pub(super) fn refused<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Refused> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

async fn look_up(host: String) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let found: Vec<IpAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.map(|socket| socket.ip()).collect();
    for address in &found {
        if let Some(why) = refusal(*address) {
            return Err(Refused { host, address: *address, why }.into());
        }
    }
    Ok(found)
}

impl reqwest::dns::Resolve for GuardedResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found = look_up(host).await?;
            let sockets: reqwest::dns::Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(sockets)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_this_box_or_of_a_link_local_address_passes() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[ff02::1]",
            "[fd00:ec2::254]",
        ] {
            assert!(refusal_of_literal(host).is_some(), "{host} passes");
        }
        for host in ["93.184.216.34", "10.0.0.1", "192.168.1.1", "[2606:2800:220::1]", "[fd12::1]", "example.com"] {
            assert_eq!(refusal_of_literal(host), None, "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_box_is_refused_with_both_named() {
        let words = look_up("localhost".to_owned()).await.unwrap_err().to_string();
        assert!(words.contains("localhost leads to") && words.contains("import_local"), "{words}");
    }
}
