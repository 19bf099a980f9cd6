//! Ports of instances: picked at random, so that a port that was just let go is rarely the next one, and tried before use.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener},
};

use rand::RngExt;

/// Every port of the range is taken.
#[derive(Debug, thiserror::Error)]
#[error("no port from {0} to {1} is free: widen `instances.ports`, or stop what else uses them")]
pub struct NoFreePort(pub u16, pub u16);

/// A port of the range (both ends included) that no row holds and that can be bound right now. Someone else may still take it
/// before the instance does: the start then ends with code 75 and is tried again with another.
pub fn pick_port(range: (u16, u16), held: &HashSet<u16>) -> Result<u16, NoFreePort> {
    let (first, last) = range;
    if first > last {
        return Err(NoFreePort(first, last));
    }
    let count = u32::from(last - first) + 1;
    let offset = rand::rng().random_range(0..count);
    (0..count)
        .map(|i| first + u16::try_from((offset + i) % count).unwrap_or(0))
        .filter(|port| *port != 0 && !held.contains(port))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(NoFreePort(first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_bound_or_held_is_not_picked() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = taken.local_addr().expect("its address").port();
        assert!(pick_port((port, port), &HashSet::new()).is_err(), "bound");
        drop(taken);
        assert_eq!(pick_port((port, port), &HashSet::new()).expect("free again"), port);
        assert!(pick_port((port, port), &[port].into()).is_err(), "held by a row");
        let text = pick_port((9, 3), &HashSet::new()).expect_err("no range").to_string();
        assert!(text.contains("instances.ports"), "{text}");
    }
}
