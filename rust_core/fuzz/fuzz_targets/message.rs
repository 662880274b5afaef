//! Any bytes as a message or reply: read or refused, and what is read is written back the same.
#![no_main]

use buffmoney_core::message::{Header, Message, MessageBody, Reply, UsageReply, command_message, usage_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let outline = Message::outline(bytes);
    if let Ok(message) = Message::parse(bytes) {
        let outline = outline.expect("what can be read has an outline");
        if let MessageBody::Usage(section) | MessageBody::Command { usage: Some(section), .. } = &message.body {
            assert!(outline.keys().eq(section.events.iter().map(|event| event.key_hash)));
        }
        let Message { redelivered, tenant_id, message_id, reply_to, mark, body } = &message;
        let header = Header { redelivered: *redelivered, tenant_id: *tenant_id, message_id: *message_id, reply_to, mark: *mark };
        let written = match body {
            MessageBody::Usage(section) => usage_message(header, section),
            MessageBody::Command { command, usage } => {
                let mut section = Vec::new();
                if let Some(usage) = usage {
                    usage.append_to(&mut section).expect("a read section can be written");
                }
                command_message(header, command, &section)
            }
        };
        let written = written.expect("a read message can be written");
        assert_eq!(Message::parse(&written).as_ref(), Ok(&message));
        assert_eq!(written.len(), bytes.len());
    }
    if let Ok(reply) = Reply::parse(bytes)
        && let Ok(usage) = UsageReply::parse(reply.body)
    {
        assert_eq!(usage.encode(reply.message_id).expect("a read reply can be written"), bytes_of_usage(&reply));
    }
});

/// A body may come under the kind of a command too; written back it is usage.
fn bytes_of_usage(reply: &Reply<'_>) -> Vec<u8> {
    Reply { kind: buffmoney_core::message::KIND_USAGE, ..*reply }.encode()
}
