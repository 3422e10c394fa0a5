//! What is special about Postgres: its schema, its faults, its partitions, its views.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod partitions;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod support;
#[cfg(test)]
mod views;
