//! The detection server: YOLOv5's REST route, one of our own with batches, and a page.
//!
//! Source: `POST /v1/object-detection/<model>` and its answer are those of YOLOv5's sample. `openapi.json` describes all
//! routes; a test holds it against [`ROUTES`].

use crate::api_error::{ApiError, json_response, no_such_method, no_such_route};
use crate::engine::{Answer, Engine};
use crate::guard::{self, ApiKey};
use crate::metrics::Metrics;
use crate::pages;
use crate::upload::{self, Admission, Picture, Upload, Wanted};
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kinglet_runtime::{Detector, Fit, Fitted};
use kinglet_vision::decode::{self, Limits};
use kinglet_vision::draw::class_colour;
use kinglet_vision::{Detection, NmsOptions};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

/// Methods and routes that programs use; the page's files are not among them.
pub const ROUTES: [(&str, &str); 6] = [
    ("get", "/health"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
    ("post", "/v1/object-detection/{model}"),
    ("post", "/v2/detect"),
    ("get", "/v2/model"),
];

/// The description of the routes, an OpenAPI document.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The longest wait that a refused client is asked for.
const LONGEST_RETRY: f64 = 60.0;

/// What to serve, and within which limits.
#[derive(Debug, Clone)]
pub struct DetectionOptions {
    /// The model's name in YOLOv5's route.
    pub model: String,
    /// Class names.
    pub names: Vec<String>,
    /// Height and width that images are fitted into: multiples of the model's stride.
    pub size: [usize; 2],
    /// What to keep where a request says nothing.
    pub nms: NmsOptions,
    /// Most bytes of a request.
    pub max_bytes: usize,
    /// Most pixels of a picture.
    pub max_pixels: u64,
    /// Most images of a request.
    pub max_images: usize,
    /// Most images in the house; further ones are refused with 429.
    pub queue: usize,
    /// Most images computed together.
    pub max_batch: usize,
    /// Longest wait for further images of a batch.
    pub window: Duration,
    /// Longest time for a request, from its head to its answer.
    pub timeout: Duration,
    /// What clients must send, if anything.
    pub api_key: Option<ApiKey>,
    /// Whether requests must name this server by an IP address or as localhost.
    pub local_names_only: bool,
}

impl DetectionOptions {
    /// The usual limits.
    pub fn new(model: String, names: Vec<String>, size: [usize; 2]) -> Self {
        DetectionOptions {
            model,
            names,
            size,
            nms: NmsOptions { max_det: 1000, ..NmsOptions::default() },
            max_bytes: 16 << 20,
            max_pixels: 50_000_000,
            max_images: 16,
            queue: 32,
            max_batch: 4,
            window: Duration::from_millis(2),
            timeout: Duration::from_secs(30),
            api_key: None,
            local_names_only: true,
        }
    }
}

/// What the routes share.
#[derive(Debug)]
struct Service {
    options: DetectionOptions,
    engine: Engine,
    stride: usize,
    metrics: Arc<Metrics>,
    /// Images in the house.
    places: Arc<Semaphore>,
    /// Pictures being decoded: one a processor, since each may take much memory.
    decoders: Arc<Semaphore>,
}

/// A detection as clients get it.
#[derive(Debug, Serialize)]
struct Found<'a> {
    xmin: f64,
    ymin: f64,
    xmax: f64,
    ymax: f64,
    confidence: f64,
    class: usize,
    name: Cow<'a, str>,
}

impl<'a> Found<'a> {
    /// Boxes as they were found are for programs that choose among them, as the page does: rounded to thousandths of a
    /// pixel, some would overlap by as much as allowed that did not, and another box would stay.
    fn new(detection: &Detection, names: &'a [String], as_found: bool) -> Self {
        let (pixels, score) = if as_found { (1e6, 1e8) } else { (1e3, 1e5) };
        let shown = |value: f32, scale: f64| (f64::from(value) * scale).round_ties_even() / scale;
        let [xmin, ymin, xmax, ymax] = detection.xyxy.map(|v| shown(v, pixels));
        let class = detection.class;
        let name = names.get(class).map_or_else(|| Cow::Owned(class.to_string()), |name| Cow::Borrowed(name.as_str()));
        Found { xmin, ymin, xmax, ymax, confidence: shown(detection.score, score), class, name }
    }
}

/// An image of a request, done.
struct Done {
    name: String,
    size: (usize, usize),
    decode: Duration,
    answer: Answer,
    /// Boxes are wanted as they were found.
    as_found: bool,
}

/// The router; starts the thread that computes.
///
/// # Errors
/// A system that gives no threads.
pub fn router(detector: Detector, options: DetectionOptions) -> std::io::Result<Router> {
    let service = Arc::new(Service::start(detector, options)?);
    let locked = Router::new()
        .route("/v1/object-detection/{model}", post(object_detection))
        .route("/v2/detect", post(detect))
        .route("/v2/model", get(model))
        .route("/metrics", get(metrics_text))
        .layer(DefaultBodyLimit::max(service.options.max_bytes))
        .layer(from_fn_with_state(service.options.api_key.clone(), guard::key));
    let open = Router::new().route("/health", get(health)).route("/openapi.json", get(openapi));
    let mut router = pages::with_page(open, pages::DETECT)
        .merge(locked)
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method);
    if service.options.local_names_only {
        router = router.layer(from_fn(guard::local_names_only));
    }
    Ok(router.layer(from_fn_with_state(service.clone(), count)).layer(from_fn(guard::headers)).with_state(service))
}

/// Counts requests by route.
async fn count(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    // Paths that match no route share one name, or anyone could make the list as long as they like.
    let route = request.extensions().get::<MatchedPath>().map_or("other".to_owned(), |path| path.as_str().to_owned());
    let method = match *request.method() {
        axum::http::Method::GET => "GET",
        axum::http::Method::POST => "POST",
        axum::http::Method::HEAD => "HEAD",
        _ => "other",
    };
    let response = next.run(request).await;
    service.metrics.request(method, &route, response.status().as_u16(), begun.elapsed());
    response
}

async fn health(State(service): State<Arc<Service>>) -> Response {
    if service.engine.is_alive() {
        return json_response(StatusCode::OK, &json!({"status": "ok"}));
    }
    broken_engine().into_response()
}

fn broken_engine() -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "engine_stopped",
        "the thread that computes has ended",
        "start the server anew, and report what it printed",
    )
}

async fn openapi() -> Response {
    let mut response = Response::new(OPENAPI.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn metrics_text(State(service): State<Arc<Service>>) -> Response {
    let capacity = service.options.queue;
    let text = service.metrics.render(capacity - service.places.available_permits(), capacity);
    let mut response = Response::new(text.into());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn model(State(service): State<Arc<Service>>) -> Response {
    let o = &service.options;
    let classes: Vec<Value> = o
        .names
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let [r, g, b] = class_colour(class);
            json!({"class": class, "name": name, "colour": format!("#{r:02x}{g:02x}{b:02x}")})
        })
        .collect();
    json_response(
        StatusCode::OK,
        &json!({
            "model": o.model, "classes": classes, "height": o.size[0], "width": o.size[1],
            "conf": f64::from((o.nms.conf * 1e5).round()) / 1e5, "iou": f64::from((o.nms.iou * 1e5).round()) / 1e5,
            "max_det": o.nms.max_det,
            "limits": {
                "bytes": o.max_bytes, "pixels": o.max_pixels, "images": o.max_images, "queue": o.queue,
                "seconds": o.timeout.as_secs_f64(),
            },
        }),
    )
}

/// YOLOv5's route for a model of this name.
pub fn route_of(model: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("/v1/object-detection/{}", model.bytes().map(encoded).collect::<String>())
}

/// YOLOv5's route: one image, and a list of its detections.
async fn object_detection(
    State(service): State<Arc<Service>>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let known = &service.options.model;
    if model != *known {
        let message = format!("there is no model `{model}`");
        let next = format!("use {}, or name the model with --name when starting the server", route_of(known));
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_such_model", message, next));
    }
    let deadline = Instant::now() + service.options.timeout;
    let mut upload = service.read(request, deadline, 1, "send one a request, or several to /v2/detect").await?;
    // YOLOv5's sample passes over fields that it does not know.
    upload.settings.clear();
    let done = service.detect(upload, deadline).await?;
    let names = &service.options.names;
    let found: Vec<Found<'_>> =
        done.iter().flat_map(|d| &d.answer.detections).map(|d| Found::new(d, names, false)).collect();
    Ok(json_response(StatusCode::OK, &json!(found)))
}

/// Our route: several images, with settings.
async fn detect(State(service): State<Arc<Service>>, request: Request) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let deadline = begun + service.options.timeout;
    let (max_images, queue) = (service.options.max_images, service.options.queue);
    let more_images = if queue < max_images {
        "send them in several requests, or start the server with a larger --queue"
    } else {
        "send them in several requests, or start the server with a larger --max-images"
    };
    let upload = service.read(request, deadline, max_images.min(queue), more_images).await?;
    let done = service.detect(upload, deadline).await?;
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let image = |d: &Done| {
        let found = d.answer.detections.iter().map(|f| Found::new(f, &service.options.names, d.as_found));
        let found: Vec<Found<'_>> = found.collect();
        json!({
            "name": d.name, "width": d.size.0, "height": d.size.1, "detections": found,
            "milliseconds": {
                "decode": ms(d.decode), "wait": ms(d.answer.waited), "inference": ms(d.answer.inference),
            },
            "batch": d.answer.batch,
        })
    };
    let images: Vec<Value> = done.iter().map(image).collect();
    let answer = json!({"model": service.options.model, "images": images, "milliseconds": ms(begun.elapsed())});
    Ok(json_response(StatusCode::OK, &answer))
}

impl Service {
    /// Starts the thread that computes.
    fn start(detector: Detector, options: DetectionOptions) -> std::io::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let stride = detector.max_stride();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Service {
            engine: Engine::start(detector, options.size, options.max_batch, options.window, metrics.clone())?,
            stride,
            metrics,
            places: Arc::new(Semaphore::new(options.queue)),
            decoders: Arc::new(Semaphore::new(processors)),
            options,
        })
    }

    /// Takes the pictures in.
    async fn read(
        &self,
        request: Request,
        deadline: Instant,
        max_images: usize,
        more_images: &str,
    ) -> Result<Upload, ApiError> {
        let admission = Admission {
            places: &self.places,
            max_images,
            more_images,
            max_bytes: self.options.max_bytes,
            full: &|| self.full(),
        };
        timeout_at(deadline.into(), upload::read(request, &admission)).await.unwrap_or_else(|_| {
            Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_upload",
                format!("the request did not arrive within {} s", self.options.timeout.as_secs_f64()),
                "send smaller pictures, or start the server with a larger --timeout",
            ))
        })
    }

    /// The answer where no place is left.
    fn full(&self) -> ApiError {
        let wait = self.metrics.seconds_per_image() * self.options.queue as f64;
        ApiError {
            retry_after: Some(wait.ceil().clamp(1.0, LONGEST_RETRY) as u64),
            ..ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "queue_full",
                format!("{} images are waiting, and the queue holds no more", self.options.queue),
                "try again after the seconds in the header Retry-After",
            )
        }
    }

    /// Decodes the pictures and detects in them.
    async fn detect(&self, upload: Upload, deadline: Instant) -> Result<Vec<Done>, ApiError> {
        let wanted = Arc::new(upload::wanted(&upload.settings, &self.options.nms, &self.options.names)?);
        let several = upload.pictures.len() > 1;
        let images = upload.pictures.into_iter().enumerate().map(|(index, picture)| {
            let place = if several { format!("image {} (`{}`)", index + 1, picture.name) } else { "image".to_owned() };
            self.one(picture, wanted.clone(), place)
        });
        let all = futures_util::future::try_join_all(images);
        timeout_at(deadline.into(), all).await.unwrap_or_else(|_| {
            Err(ApiError {
                retry_after: Some(1),
                ..ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too_slow",
                    format!("the images were not computed within {} s", self.options.timeout.as_secs_f64()),
                    "send fewer images a request, try again later, or start the server with a larger --timeout",
                )
            })
        })
    }

    async fn one(&self, picture: Picture, wanted: Arc<Wanted>, place: String) -> Result<Done, ApiError> {
        let decoder = self.decoders.clone().acquire_owned().await.expect("the semaphore is never closed");
        let coming = self.engine.coming();
        let limits = Limits { max_pixels: self.options.max_pixels, ..Limits::default() };
        let (size, stride) = (self.options.size, self.stride);
        let Picture { name, bytes, place: queue_place } = picture;
        // The decoder's place and the queue's go with the work, which goes on where the client has gone away.
        let work = move || {
            let begun = Instant::now();
            let decoded = decode::decode(&bytes, &limits);
            drop(bytes);
            let fitted = decoded.map(|d| Fitted::new(Cow::Owned(d.image), size, Fit::Stride, stride));
            drop(decoder);
            (fitted, begun.elapsed(), queue_place)
        };
        let (fitted, decode, queue_place) = tokio::task::spawn_blocking(work).await.map_err(|_| {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "decoder_failed",
                format!("{place}: the decoder failed"),
                "send the picture in another format, and report the file",
            )
        })?;
        let fitted = fitted.map_err(|error| ApiError::picture(&place, &error))?;
        self.metrics.decoded(decode);
        let (size, as_found) = (fitted.original(), !wanted.clip);
        let answer = self.engine.detect(fitted, wanted, queue_place);
        drop(coming);
        let answer = answer.await.map_err(|_| broken_engine())?;
        Ok(Done { name, size, decode, answer, as_found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;

    #[test]
    fn names_that_are_no_address_are_encoded_in_the_route() {
        assert_eq!(route_of("yolov5n-1.2_a~"), "/v1/object-detection/yolov5n-1.2_a~");
        // RFC 3986: the UTF-8 bytes, in upper case.
        assert_eq!(route_of("my b\u{fc}rd?"), "/v1/object-detection/my%20b%C3%BCrd%3F");
    }

    #[tokio::test]
    async fn images_that_are_not_computed_in_time_are_503_and_free_their_places() {
        let yaml = "nc: 1\nanchors:\n  - [10, 13]\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [[0], 1, Detect, [nc, anchors]]\n";
        let mut model = kinglet_nn::Model::from_yaml(yaml, "a.yaml", &kinglet_spec::ResolveOptions::default()).unwrap();
        model.params.initialise(0);
        let options = DetectionOptions::new("a".into(), vec!["cat".into()], [32, 32]);
        let service = Service::start(Detector::new(model), options).unwrap();
        // Every decoder is busy for good.
        let busy = service.decoders.clone().acquire_many_owned(service.decoders.available_permits() as u32);
        let _busy = busy.await.unwrap();
        let place = service.places.clone().try_acquire_owned().unwrap();
        let picture = Picture { name: "a.png".into(), bytes: Bytes::new(), place };
        let upload = Upload { pictures: vec![picture], settings: Vec::new() };
        let refused = service.detect(upload, Instant::now() + Duration::from_millis(20)).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.code, refused.retry_after), (503, "too_slow", Some(1)));
        assert_eq!(service.places.available_permits(), service.options.queue);
    }
}
