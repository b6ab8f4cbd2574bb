//! Charts for documents, as SVG without scripts, fonts or colours from elsewhere: shapes in a few roles, which a style sheet
//! inside paints for light and dark pages alike.

mod scale;

use std::fmt::{self, Write as _};

pub use scale::Scale;

/// A place: from the left, from the top.
pub type Point = (f64, f64);

/// The roles that shapes and words have. The first theme is for light pages; whoever prefers dark ones gets the second.
/// Both have their own ground, so that a page whose theme differs from its reader's shows a card and not ink on ink.
const STYLE: &str = "
text { font: 14px system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 17px; font-weight: 650; }
.heading { font-size: 15px; font-weight: 600; }
.muted { font-size: 13px; fill: #59636e; }
.number { font-variant-numeric: tabular-nums; }
.strong { font-weight: 650; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.ground { fill: #ffffff; stroke: #d1d9e0; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.aim { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 4 3; }
.spread { stroke: #1f2328; stroke-width: 1.5; }
.ours { fill: #0969da; stroke: #0969da; }
.other { fill: #8c959f; stroke: #8c959f; }
.peer { fill: #bc4c00; stroke: #bc4c00; }
text.ours, text.other, text.peer { stroke: none; }
text.other { fill: #59636e; }
rect.ours, rect.other, rect.peer { stroke: none; }
.curve { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round; }
.thin { stroke-width: 1.5; }
.hollow { fill: #ffffff; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.muted, text.other { fill: #9198a1; }
.ground { fill: #0d1117; stroke: #3d444d; }
.grid { stroke: #3d444d; }
.aim { stroke: #9198a1; }
.spread { stroke: #e6edf3; }
.ours { fill: #4493f8; stroke: #4493f8; }
.other { fill: #6e7681; stroke: #6e7681; }
.peer { fill: #db6d28; stroke: #db6d28; }
.curve { fill: none; }
.hollow { fill: #0d1117; }
}
";

/// A picture being drawn, from the back to the front.
#[derive(Debug)]
pub struct Picture {
    width: f64,
    title: String,
    description: String,
    body: String,
}

impl Picture {
    /// An empty one. Its title and description are for those who hear it.
    pub fn new(width: f64, title: &str, description: &str) -> Self {
        Self {
            width,
            title: title.to_owned(),
            description: description.to_owned(),
            body: String::new(),
        }
    }

    /// From the left edge to the right one.
    pub const fn width(&self) -> f64 {
        self.width
    }

    /// Words that begin here, on this line; with the role `end` they end here.
    pub fn text(&mut self, (x, y): Point, roles: &str, words: &str) {
        self.add(format_args!(
            r#"<text class="{roles}" x="{x:.1}" y="{y:.1}">{}</text>"#,
            Escaped(words)
        ));
    }

    /// A box: its upper left corner, and how wide and high it is.
    pub fn rect(&mut self, (x, y): Point, (width, height): (f64, f64), roles: &str) {
        self.add(format_args!(
            r#"<rect class="{roles}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>"#
        ));
    }

    /// A straight line.
    pub fn line(&mut self, (x1, y1): Point, (x2, y2): Point, roles: &str) {
        self.add(format_args!(
            r#"<line class="{roles}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A line through several points.
    pub fn curve(&mut self, points: &[Point], roles: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!(
            r#"<polyline class="{roles} curve" points="{}"/>"#,
            points.join(" ")
        ));
    }

    /// A dot around this point.
    pub fn dot(&mut self, (x, y): Point, radius: f64, roles: &str) {
        self.add(format_args!(
            r#"<circle class="{roles}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#
        ));
    }

    fn add(&mut self, element: fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// The file, of this height.
    pub fn finish(self, height: f64) -> String {
        let Self {
            width,
            title,
            description,
            body,
        } = self;
        let (title, description) = (Escaped(&title), Escaped(&description));
        let (inner_width, inner_height) = (width - 1.0, height - 1.0);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-labelledby="title description">
<title id="title">{title}</title>
<desc id="description">{description}</desc>
<style>{STYLE}</style>
<rect class="ground" x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="8"/>
{body}</svg>
"#
        )
    }
}

/// Text as it stands between tags.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_words_whatever_they_hold() {
        let mut picture = Picture::new(100.0, "a < b", "c & d");
        picture.text((1.0, 2.0), "muted end", "<script>");
        let svg = picture.finish(50.0);
        assert!(svg.contains(r#"<text class="muted end" x="1.0" y="2.0">&lt;script&gt;</text>"#));
        assert!(svg.contains("<title id=\"title\">a &lt; b</title>"));
        assert!(svg.contains("c &amp; d"));
    }

    #[test]
    fn a_picture_is_as_large_as_it_says_and_keeps_the_order_of_drawing() {
        let mut picture = Picture::new(480.0, "", "");
        picture.rect((1.0, 2.0), (3.0, 4.0), "ours");
        picture.curve(&[(0.0, 1.0), (2.25, 3.0)], "ours");
        picture.dot((5.0, 6.0), 4.0, "peer");
        let svg = picture.finish(320.0);
        assert!(svg.starts_with("<svg "));
        assert!(svg.contains(r#"viewBox="0 0 480 320" width="480" height="320""#));
        let places =
            ["ground", "<rect class=\"ours\"", "0.0,1.0 2.2,3.0", "<circle"].map(|part| svg.find(part));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{svg}");
    }

    #[test]
    fn every_colour_of_the_light_theme_has_one_in_the_dark() {
        let (light, dark) = STYLE.split_once("@media").unwrap();
        for rule in light.lines().filter(|rule| rule.contains('#')) {
            let role = rule.split([' ', ',']).next().unwrap();
            assert!(dark.contains(role), "{role} is not seen on a dark page");
        }
    }
}
