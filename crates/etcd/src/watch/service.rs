//! The gRPC side of a watch stream.

use std::sync::Arc;

use hyper::body::Incoming;

use super::driver::Driver;
use super::frame::FrameEncoder;
use super::queue::Queue;
use crate::front::Front;
use crate::grpc::{self, Body, Method};

/// Opens a watch stream.
pub(crate) fn watch(front: &Arc<Front>, request: http::Request<Incoming>) -> http::Response<Body> {
    grpc::stream(front, Method::Watch, request, |requests, demands_leader| {
        let queue = Queue::new(front.metrics.clone());
        let driver = Driver::new(front.clone(), queue.clone());
        tokio::spawn(driver.run(requests, demands_leader));
        (FrameEncoder(front.clone()), queue.output())
    })
}
