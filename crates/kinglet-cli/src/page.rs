//! An HTML page that needs nothing beside itself: no scripts, no other files, light and dark after the reader's setting.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinglet_eval::figure::{Figure, escaped};
use kinglet_vision::Image;
use kinglet_vision::encode::jpeg_bytes;

const STYLE: &str = ":root{--ground:#fff;--ink:#282c34;--faint:#e4e6ea;--soft:#f4f5f7;--quiet:#5c6370;--accent:#0072b2}
@media (prefers-color-scheme:dark){:root{--ground:#16181d;--ink:#e4e6ea;--faint:#383d47;--soft:#20242b;--quiet:#a2a9b5;\
--accent:#56b4e9}}
:root{color-scheme:light dark}
body{margin:0 auto;max-width:72rem;padding:2rem 1.25rem 4rem;background:var(--ground);color:var(--ink);\
font:16px/1.5 system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
h1{font-size:1.8rem;margin:0}h2{font-size:1.3rem;margin:2.75rem 0 .5rem;padding-top:.5rem;border-top:1px solid var(--faint)}
p{max-width:48rem;margin:.5rem 0}.quiet{color:var(--quiet)}
.numbers{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.5rem 0}
.numbers div{background:var(--soft);border-radius:.5rem;padding:.7rem 1.1rem;min-width:6rem}
.numbers b{display:block;font-size:1.5rem;font-weight:600;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.75rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .9rem;border-bottom:1px solid var(--faint);text-align:right;white-space:nowrap}
th{color:var(--quiet);font-weight:500}th:first-child,td:first-child{text-align:left;padding-left:0}
.words{text-align:left;white-space:normal}
svg{display:block;height:auto;max-width:100%}.chart{overflow-x:auto;margin:.75rem 0}.chart svg{min-width:40rem}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.75rem}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.ground{fill:var(--ground)}polyline.ground{fill:none;stroke:var(--ground)}
rect.ink,text.ink{fill:var(--ink)}polyline.ink{stroke:var(--ink)}
rect.faint{fill:var(--faint)}polyline.faint{stroke:var(--faint)}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1rem}
figure{margin:0}figure img{width:100%;height:auto;border-radius:.25rem;display:block}figcaption{font-size:.9rem;color:var(--quiet)}
.chip{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin:0 .35em 0 .9em;border:1px solid var(--quiet)}
pre{background:var(--soft);padding:.8rem 1rem;border-radius:.5rem;overflow-x:auto;font-size:.85rem;line-height:1.45}
summary{cursor:pointer;color:var(--accent);margin:.5rem 0}";

/// Quality of the pictures in a page.
const QUALITY: u8 = 82;

/// A page while it is written. All text is escaped.
#[derive(Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page and its heading, with a line below.
    pub fn new(title: &str, line: &str) -> Self {
        let body = format!("<h1>{}</h1>\n<p class=\"quiet\">{}</p>\n", escaped(title), escaped(line));
        Page { title: title.to_owned(), body }
    }

    /// A part's heading.
    pub fn heading(&mut self, text: &str) {
        self.body.push_str(&format!("<h2>{}</h2>\n", escaped(text)));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.body.push_str(&format!("<p>{}</p>\n", escaped(text)));
    }

    /// The numbers that matter most, each above its name.
    pub fn numbers(&mut self, numbers: &[(&str, String)]) {
        self.body.push_str("<div class=\"numbers\">");
        for (name, value) in numbers {
            self.body.push_str(&format!("<div><b>{}</b>{}</div>", escaped(value), escaped(name)));
        }
        self.body.push_str("</div>\n");
    }

    /// A table; the first column is text, and so is the last where `words`. Without a head, rows are names and values.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>], words: bool) {
        let columns = rows.first().map_or(head.len(), Vec::len);
        let class = |column: usize| if words && column + 1 == columns { " class=\"words\"" } else { "" };
        let label = if head.is_empty() { "Names and values".to_owned() } else { escaped(&head.join(", ")) };
        self.body
            .push_str(&format!("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\"><table>"));
        if !head.is_empty() {
            self.body.push_str("<thead><tr>");
            for (column, cell) in head.iter().enumerate() {
                self.body.push_str(&format!("<th scope=\"col\"{}>{}</th>", class(column), escaped(cell)));
            }
            self.body.push_str("</tr></thead>");
        }
        self.body.push_str("<tbody>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                self.body.push_str(&format!("<td{}>{}</td>", class(column), escaped(cell)));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table></div>\n");
    }

    /// A chart. On a phone it can be moved sideways, or its words would be too small to read.
    pub fn figure(&mut self, figure: &Figure) {
        self.body.push_str(&format!(
            "<div class=\"chart\" tabindex=\"0\" role=\"region\" aria-label=\"Chart\">{}</div>\n",
            figure.to_svg()
        ));
    }

    /// Small charts, as many side by side as there is room for.
    pub fn figures(&mut self, figures: &[Figure]) {
        self.body.push_str("<div class=\"charts\">\n");
        figures.iter().for_each(|figure| self.body.push_str(&figure.to_svg()));
        self.body.push_str("</div>\n");
    }

    /// What is seen after a click only.
    pub fn folded(&mut self, summary: &str, write: impl FnOnce(&mut Page)) {
        self.body.push_str(&format!("<details><summary>{}</summary>\n", escaped(summary)));
        write(self);
        self.body.push_str("</details>\n");
    }

    /// Text as it is.
    pub fn lines(&mut self, text: &str) {
        self.body.push_str(&format!("<pre>{}</pre>\n", escaped(text)));
    }

    /// What colours mean.
    pub fn legend(&mut self, entries: &[(&str, [u8; 3])]) {
        self.body.push_str("<p>");
        for (name, [r, g, b]) in entries {
            let chip = format!("<span class=\"chip\" style=\"background:rgb({r},{g},{b})\"></span>");
            self.body.push_str(&format!("{chip}{}", escaped(name)));
        }
        self.body.push_str("</p>\n");
    }

    /// Pictures with words below.
    pub fn pictures(&mut self, pictures: impl Iterator<Item = (String, Image)>) {
        self.body.push_str("<div class=\"pictures\">\n");
        for (caption, image) in pictures {
            let Ok(bytes) = jpeg_bytes(&image, QUALITY) else { continue };
            let (text, data) = (escaped(&caption), STANDARD.encode(bytes));
            self.body.push_str(&format!(
                "<figure><img alt=\"{text}\" width=\"{}\" height=\"{}\" src=\"data:image/jpeg;base64,{data}\">\
                 <figcaption>{text}</figcaption></figure>\n",
                image.width, image.height
            ));
        }
        self.body.push_str("</div>\n");
    }

    /// The file.
    pub fn finish(self) -> String {
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{}</title>\n\
             <style>\n{STYLE}\n</style>\n</head>\n<body>\n{}</body>\n</html>\n",
            escaped(&self.title),
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let evil = "</title><script>alert('\"')</script>";
        let mut page = Page::new(evil, evil);
        page.heading(evil);
        page.numbers(&[(evil, evil.to_owned())]);
        page.table(&[evil], &[vec![evil.to_owned()]], true);
        page.legend(&[(evil, [0; 3])]);
        page.lines(evil);
        page.folded(evil, |page| page.paragraph(evil));
        page.pictures([(evil.to_owned(), Image::new(2, 2, [0; 3]))].into_iter());
        page.figure(&Figure::new(9, 9, evil));
        let html = page.finish();
        assert!(!html.contains("<script") && !html.contains("alert('"), "{html}");
        // Title, heading and line; a heading; two in numbers, the folded part and below the picture; three in the table; one
        // elsewhere.
        assert_eq!(html.matches("&lt;script&gt;").count(), 3 + 1 + 3 * 2 + 3 + 3);
        for needs in ["http:", "https:", "src=\"/", "url(", "@import"] {
            let own = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(needs), "{needs}");
        }
        // A JPEG begins with ff d8 ff: "/9j/" in base64.
        assert!(html.contains("src=\"data:image/jpeg;base64,/9j/"), "{html}");
    }
}
