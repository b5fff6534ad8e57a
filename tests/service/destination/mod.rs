//! The fee server as a destination: its answers and the wire.

mod fee_server_answers;
mod fee_server_look_up;
mod fee_server_table;
mod fee_server_tls;
mod fee_server_wire;
