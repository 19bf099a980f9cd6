//! Who listens on a TCP port, from `/proc`: for "port taken" errors and `orbitd doctor`. Best effort: another user's
//! process is seen as a listener, but not by name.

use std::fs;

/// Processes looked through for the owner of a socket; past it the listener stays nameless.
const MAX_PROCESSES: usize = 20_000;

/// What listens on `port` of this machine, in words: `node (pid 4711)`, or `another user's process`. `None` if nothing does.
pub fn listener_on(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, port))?;
    Some(owner_of(inode).unwrap_or_else(|| "another user's process".to_owned()))
}

/// The socket that listens on `port`, from the text of `/proc/net/tcp` (proc(5): fields local_address, st, inode).
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let matches = u16::from_str_radix(local_port, 16).ok()? == port && *fields.get(3)? == LISTEN;
        if matches { fields.get(9)?.parse().ok() } else { None }
    })
}

fn owner_of(inode: u64) -> Option<String> {
    let target = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES);
    for process in processes {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == target.as_str()));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1BA8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0\n\
            1: 0100007F:1BA9 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0 100 0 0 10 0\n";
        assert_eq!(listening_inode(table, 7080), Some(12345));
        assert_eq!(listening_inode(table, 7081), None, "connected, not listening");
        assert_eq!(listening_inode("", 7080), None);
    }

    #[test]
    fn our_own_listener_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let text = listener_on(port).expect("we listen");
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    }
}
