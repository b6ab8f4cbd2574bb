//! The contract against a real nats-server with the one configuration: connection, streams, publishing, delivery.

#[cfg(test)]
mod connection;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod delivery_faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod streams;
