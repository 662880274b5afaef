//! Redis commands as RESP bytes, packed here because a pipeline of many members is per-event work.

/// Appends one command. Arguments are binary-safe.
pub fn append_command(buffer: &mut Vec<u8>, arguments: &[&[u8]]) {
    append_header(buffer, arguments.len());
    for argument in arguments {
        append_argument(buffer, argument);
    }
}

/// Appends the start of a command of `arguments` arguments, each then to be added with `append_argument`.
pub fn append_header(buffer: &mut Vec<u8>, arguments: usize) {
    append_prefixed(buffer, b'*', arguments);
}

/// Appends one argument of a command begun with `append_header`.
pub fn append_argument(buffer: &mut Vec<u8>, argument: &[u8]) {
    append_prefixed(buffer, b'$', argument.len());
    buffer.extend_from_slice(argument);
    buffer.extend_from_slice(b"\r\n");
}

/// One command.
pub fn pack_command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(arguments.iter().fold(16, |sum, argument| sum + argument.len() + 16));
    append_command(&mut buffer, arguments);
    buffer
}

fn append_prefixed(buffer: &mut Vec<u8>, prefix: u8, number: usize) {
    buffer.push(prefix);
    buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    buffer.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are those of the protocol's own examples, whatever an argument holds.
    #[test]
    fn packs_binary_arguments() {
        assert_eq!(pack_command(&[b"SET", b"key", b"a\r\nb\0"]), b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\na\r\nb\0\r\n");
        assert_eq!(pack_command(&[b"PING", b""]), b"*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
    }
}
