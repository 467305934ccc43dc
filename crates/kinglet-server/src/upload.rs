//! What a request brings: pictures and settings from a multipart form, within limits.

use crate::api_error::ApiError;
use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{Multipart, Request};
use axum::http::{StatusCode, header};
use kinglet_vision::NmsOptions;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest setting that makes sense.
const MAX_SETTING: usize = 4096;
/// Most detections that a request may ask for: their suppression takes time by the square, and all requests wait for it.
pub(crate) const MAX_DETECTIONS: usize = 3000;
/// What a form may hold beside pictures.
const SETTINGS: [&str; 5] = ["conf", "iou", "classes", "max_det", "clip"];

/// A picture as it came.
pub(crate) struct Picture {
    /// The file's name, or its number in the request.
    pub name: String,
    pub bytes: Bytes,
    /// Its place in the queue.
    pub place: OwnedSemaphorePermit,
}

/// The parts of a form.
pub(crate) struct Upload {
    pub pictures: Vec<Picture>,
    pub settings: Vec<(String, String)>,
}

/// Who gives places to pictures, and how many a request may bring.
pub(crate) struct Admission<'a> {
    pub places: &'a Arc<Semaphore>,
    pub max_images: usize,
    /// What to do with more images than that.
    pub more_images: &'a str,
    pub max_bytes: usize,
    /// The answer where no place is left.
    pub full: &'a (dyn Fn() -> ApiError + Sync),
}

fn too_many_bytes(max_bytes: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_many_bytes",
        format!("the request is larger than the limit of {max_bytes} bytes"),
        "send a smaller picture or fewer of them, or start the server with a larger --max-bytes",
    )
}

/// Reads a form. The first place is taken before the body is read, so that a full server reads nothing.
pub(crate) async fn read(request: Request, admission: &Admission<'_>) -> Result<Upload, ApiError> {
    let place = || admission.places.clone().try_acquire_owned().map_err(|_| (admission.full)());
    let mut first = Some(place()?);
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > admission.max_bytes as u64) {
        return Err(too_many_bytes(admission.max_bytes));
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        let found = if kind.is_empty() { "none".to_owned() } else { format!("`{kind}`") };
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "no_form",
            format!("expected the content type multipart/form-data, found {found}"),
            "send the picture as the field `image` of a form: curl -F image=@photo.jpg URL",
        ));
    }
    let broken = |error: MultipartError| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return too_many_bytes(admission.max_bytes);
        }
        let next = "send a form as `curl -F image=@photo.jpg URL` does";
        ApiError::bad("broken_form", format!("the form cannot be read: {}", error.body_text()), next)
    };
    let mut form: Multipart = request.extract().await.map_err(|error| {
        let next = "send a form as `curl -F image=@photo.jpg URL` does";
        ApiError::bad("broken_form", format!("the form cannot be read: {error}"), next)
    })?;
    let mut upload = Upload { pictures: Vec::new(), settings: Vec::new() };
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let key = field.name().unwrap_or_default().to_owned();
        if key != "image" {
            // What is unknown may be a whole picture under a wrong name: its value is passed over.
            let is_known = SETTINGS.contains(&key.as_str());
            let value = if is_known { setting(field).await?.map_err(broken)? } else { String::new() };
            upload.settings.push((key, value));
            if upload.settings.len() > 2 * SETTINGS.len() {
                return Err(ApiError::bad("too_many_fields", "the form has too many fields", known_fields()));
            }
            continue;
        }
        let number = upload.pictures.len() + 1;
        if number > admission.max_images {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_images",
                match admission.max_images {
                    1 => "the request has more than 1 image".to_owned(),
                    most => format!("the request has more than {most} images"),
                },
                admission.more_images,
            ));
        }
        let place = match first.take() {
            Some(place) => place,
            None => place()?,
        };
        let name = field.file_name().filter(|name| !name.is_empty()).map_or(format!("image {number}"), str::to_owned);
        upload.pictures.push(Picture { name, bytes: field.bytes().await.map_err(broken)?, place });
    }
    if upload.pictures.is_empty() {
        let next = "send the picture as the field `image` of a form: curl -F image=@photo.jpg URL";
        return Err(ApiError::bad("no_image", "the form has no field `image`", next));
    }
    Ok(upload)
}

/// A setting's text.
async fn setting(mut field: Field<'_>) -> Result<Result<String, MultipartError>, ApiError> {
    let mut bytes = Vec::new();
    loop {
        match field.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        }
        if bytes.len() > MAX_SETTING {
            let message = format!("a setting is longer than {MAX_SETTING} bytes");
            return Err(ApiError::bad("bad_setting", message, known_fields()));
        }
    }
    Ok(Ok(String::from_utf8_lossy(&bytes).into_owned()))
}

fn known_fields() -> String {
    format!("the fields are `image` (once or several times), `{}`", SETTINGS.join("`, `"))
}

/// What a request wants of its pictures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub nms: NmsOptions,
    /// Boxes end at the picture's edges.
    pub clip: bool,
}

/// What the settings of a form make of the server's own.
pub(crate) fn wanted(settings: &[(String, String)], usual: &NmsOptions, names: &[String]) -> Result<Wanted, ApiError> {
    let mut options = usual.clone();
    let mut clip = true;
    for (key, value) in settings {
        let value = value.trim();
        let bad = |expected: &str, next: &str| {
            ApiError::bad("bad_setting", format!("`{key}`: expected {expected}, found `{value}`"), next)
        };
        let fraction = || {
            let number = value.parse::<f32>().ok().filter(|number| (0.0..=1.0).contains(number));
            number.ok_or_else(|| bad("a number from 0 to 1", "leave the field out for the server's own value"))
        };
        match key.as_str() {
            "conf" => options.conf = fraction()?,
            "iou" => options.iou = fraction()?,
            "max_det" => {
                let number = value.parse::<usize>().ok().filter(|number| (1..=MAX_DETECTIONS).contains(number));
                let expected = format!("a whole number from 1 to {MAX_DETECTIONS}");
                options.max_det =
                    number.ok_or_else(|| bad(&expected, "leave the field out for the server's own value"))?;
            }
            "clip" => {
                clip = match value {
                    "1" | "true" => true,
                    "0" | "false" => false,
                    _ => return Err(bad("1 or 0", "leave the field out for boxes that end at the picture's edges")),
                };
            }
            "classes" => {
                let class = |word: &str| {
                    let by_name = names.iter().position(|name| name == word);
                    by_name.or_else(|| word.parse().ok().filter(|&class| class < names.len()))
                };
                let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
                let classes: Option<Vec<usize>> = words.map(class).collect();
                let next = format!("the classes are: {}", names.join(", "));
                options.classes =
                    Some(classes.ok_or_else(|| bad("numbers or names of classes, with commas between them", &next))?)
                        .filter(|classes| !classes.is_empty());
            }
            _ => return Err(ApiError::bad("unknown_field", format!("there is no field `{key}`"), known_fields())),
        }
    }
    Ok(Wanted { nms: options, clip })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Wanted, ApiError> {
        let settings: Vec<_> = pairs.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        wanted(&settings, &NmsOptions::default(), &["cat".into(), "big dog".into(), "7".into()])
    }

    #[test]
    fn settings_replace_the_usual_ones() {
        let found =
            parsed(&[("conf", "0.5"), ("iou", " 1 "), ("classes", "big dog, 0"), ("max_det", "7"), ("clip", "0")]);
        let classes = Some(vec![1, 0]);
        let nms = NmsOptions { conf: 0.5, iou: 1.0, max_det: 7, classes, ..NmsOptions::default() };
        assert_eq!(found.unwrap(), Wanted { nms, clip: false });
        assert!(parsed(&[]).unwrap().clip);
        assert_eq!(parsed(&[("classes", " , ")]).unwrap().nms.classes, None);
        assert_eq!(parsed(&[("classes", "7")]).unwrap().nms.classes, Some(vec![2]), "a name goes before a number");
    }

    #[test]
    fn wrong_settings_are_told_with_what_they_should_be() {
        for (key, value, told) in [
            ("conf", "50", "0 to 1"),
            ("conf", "nan", "0 to 1"),
            ("iou", "", "0 to 1"),
            ("max_det", "0", "1 to 3000"),
            ("classes", "cat,9", "names of classes"),
            ("clip", "maybe", "1 or 0"),
            ("confidence", "1", "no field `confidence`"),
        ] {
            let error = parsed(&[(key, value)]).unwrap_err();
            assert!(error.message.contains(told), "{}", error.message);
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
            assert!(!error.next_step.is_empty());
        }
    }
}
