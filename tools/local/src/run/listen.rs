//! Opens the ports of a stack.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::TcpListener;

use super::{Error, addresses::Addresses};
use crate::cli::RunOptions;

/// Port of the page if it is free, so that a bookmark stays valid after a restart.
const PAGE_PORT: u16 = 3002;

/// The open ports of a stack.
pub(super) struct Listeners {
    pub(super) rest: TcpListener,
    pub(super) websocket: TcpListener,
    /// DynamoDB for the user's programs.
    pub(super) dynamodb: TcpListener,
    pub(super) lambda: TcpListener,
    pub(super) sqs: TcpListener,
    /// CloudWatch Logs, for the audit log.
    pub(super) logs: TcpListener,
    /// DynamoDB for the functions, with their permissions.
    pub(super) gate: TcpListener,
    pub(super) otlp: TcpListener,
    pub(super) page: TcpListener,
}

/// Opens all ports. Returns them with their addresses, which lack the queues.
pub(super) async fn listen(options: &RunOptions) -> Result<(Listeners, Addresses), Error> {
    // The ports of the run's own parts are open to this machine only.
    let (own, host) = (Ipv4Addr::LOCALHOST, published(options.all_interfaces));
    let listeners = Listeners {
        rest: bind(host, options.rest_port, "--rest-port").await?,
        websocket: bind(host, options.websocket_port, "--websocket-port").await?,
        dynamodb: bind(host, options.dynamodb_port, "--dynamodb-port").await?,
        lambda: bind(own, 0, "the Lambda API").await?,
        sqs: bind(own, 0, "the SQS API").await?,
        logs: bind(own, 0, "the API of CloudWatch Logs").await?,
        gate: bind(own, 0, "the functions' DynamoDB").await?,
        otlp: bind(own, options.otlp_port, "--otlp-port").await?,
        page: match options.page_port {
            Some(port) => bind(host, port, "--page-port").await?,
            None => match bind(host, PAGE_PORT, "--page-port").await {
                Ok(listener) => listener,
                Err(_) => bind(host, 0, "--page-port").await?,
            },
        },
    };
    let websocket_address = reachable(&listeners.websocket)?;
    let addresses = Addresses {
        rest: format!("http://{}", reachable(&listeners.rest)?),
        websocket: format!("ws://{websocket_address}"),
        management: format!("http://{websocket_address}"),
        dynamodb: format!("http://{}", reachable(&listeners.dynamodb)?),
        lambda: format!("http://{}", listeners.lambda.local_addr()?),
        sqs: format!("http://{}", listeners.sqs.local_addr()?),
        logs: format!("http://{}", listeners.logs.local_addr()?),
        otlp: format!("http://{}", listeners.otlp.local_addr()?),
        page: format!("http://{}", reachable(&listeners.page)?),
        queues: BTreeMap::new(),
    };
    Ok((listeners, addresses))
}

/// Returns the address that the ports for clients are opened on.
fn published(all_interfaces: bool) -> Ipv4Addr {
    if all_interfaces { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST }
}

/// Returns the address at which programs of this machine reach a listener.
fn reachable(listener: &TcpListener) -> io::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, listener.local_addr()?.port()).into())
}

async fn bind(host: Ipv4Addr, port: u16, option: &str) -> Result<TcpListener, Error> {
    TcpListener::bind((host, port)).await.map_err(|error| {
        format!("cannot listen on port {port}: {error}; stop what listens there, or choose another port with {option}")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_on_all_addresses_is_reached_by_the_loopback_address() {
        for (all_interfaces, host) in [(false, "127.0.0.1"), (true, "0.0.0.0")] {
            let listener = bind(published(all_interfaces), 0, "a port").await.unwrap();
            let address = listener.local_addr().unwrap();
            assert_eq!(address.ip().to_string(), host);
            assert_eq!(reachable(&listener).unwrap().to_string(), format!("127.0.0.1:{}", address.port()));
        }
    }
}
