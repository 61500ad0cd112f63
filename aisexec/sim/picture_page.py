"""The picture of a run as a web page of its own: look closer, pointer tells, layers on and off."""

from __future__ import annotations

from aisexec.sim.markup import element, words
from aisexec.sim.picture import Picture
from aisexec.sim.run import Result
from aisexec.sim.trace import trace

LAYERS = (
    ("f", "faults"),
    ("d", "deliveries"),
    ("r", "ring names"),
    ("v", "views of programs"),
    ("w", "warnings"),
)
"""Classes of elements that can be hidden."""

STYLE = """
:root{color-scheme:light dark}
body{margin:0 auto;padding:12px 16px;max-width:1500px;font:14px/1.4 system-ui,sans-serif;
background:#fff;color:#222}
h1{font-size:18px;margin:0 0 4px}.bad{color:#d00000}.bar{margin:8px 0;display:flex;gap:14px;flex-wrap:wrap}
svg{width:100%;height:auto;display:block;touch-action:none;user-select:none}
pre{overflow:auto;max-height:75vh;font:12px/1.3 ui-monospace,monospace;padding:8px;background:#8881}
#tip{position:fixed;display:none;pointer-events:none;max-width:460px;padding:4px 8px;border-radius:4px;
font-size:12px;background:#222;color:#fff;z-index:9}
#now{stroke:#8888;stroke-width:1;pointer-events:none}
summary{cursor:pointer;margin-top:8px}
@media (prefers-color-scheme:dark){body{background:#16191d;color:#ddd}.bad{color:#ff5c50}}
"""

SCRIPT = r"""
(() => {
"use strict";
const svg = document.getElementById("run"), stretch = document.getElementById("stretch");
const ticks = document.getElementById("ticks"), tip = document.getElementById("tip");
const clock = document.getElementById("clock"), space = "http://www.w3.org/2000/svg";
const end = +svg.dataset.end, left = +svg.dataset.left, plot = +svg.dataset.plot;
const top_ = +svg.dataset.top, bottom = +svg.dataset.bottom;
const marks = [...document.querySelectorAll("#marks>g")].map(g => ({
  g, b: +g.dataset.b, e: +g.dataset.e, label: g.classList.contains("l") ? g.firstElementChild : null,
  y: g.transform.baseVal.consolidate().matrix.f }));
for (const t of svg.querySelectorAll("title")) { t.parentNode.dataset.t = t.textContent; t.remove(); }
const now = document.createElementNS(space, "line");
now.id = "now"; svg.append(now);
let begin = 0, span = end;

function step(s) {
  for (let p = 1e-6; ; p *= 10) for (const f of [1, 2, 5]) if (s / (p * f) <= 14) return p * f;
}
function add(kind, attributes, text) {
  const node = document.createElementNS(space, kind);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text) node.textContent = text;
  ticks.append(node);
}
function draw() {
  span = Math.min(end, Math.max(span, end / 2000));
  begin = Math.min(end - span, Math.max(0, begin));
  const k = end / span, at = t => left + (t - begin) / span * plot;
  stretch.setAttribute("transform", `translate(${left - begin / end * plot * k} 0) scale(${k} 1)`);
  for (const m of marks) {
    let x = at(m.b), inside = x >= left - 0.5 && x <= left + plot + 0.5;
    if (m.label) {
      const until = Math.min(at(m.e), left + plot);
      x = Math.max(x, left);
      inside = until - x >= +m.label.dataset.w;
      m.label.removeAttribute("display");
    }
    m.g.style.display = inside ? "" : "none";
    if (inside) m.g.setAttribute("transform", `translate(${x} ${m.y})`);
  }
  ticks.replaceChildren();
  const s = step(span), digits = Math.max(0, -Math.floor(Math.log10(s) + 1e-9));
  for (let i = Math.ceil(begin / s); i * s <= begin + span; i++) {
    const x = at(i * s);
    add("line", {class: "grid", x1: x, x2: x, y1: top_ - 4, y2: bottom});
    add("text", {class: "faint", x, y: bottom + 13, "text-anchor": "middle"}, (i * s).toFixed(digits) + " s");
  }
}
function place(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return {x: point.x, t: begin + (point.x - left) / plot * span};
}
function zoom(factor, t) { begin = t - (t - begin) * factor; span *= factor; draw(); }
svg.addEventListener("wheel", event => {
  event.preventDefault();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    begin += (event.deltaX || event.deltaY) / 800 * span; draw();
  } else zoom(Math.pow(1.0015, event.deltaY), place(event).t);
}, {passive: false});
let held = null;
svg.addEventListener("pointerdown", event => { held = {x: place(event).x, begin}; });
addEventListener("pointerup", () => { held = null; });
svg.addEventListener("dblclick", () => { begin = 0; span = end; draw(); });
svg.addEventListener("pointermove", event => {
  const p = place(event);
  if (held) { begin = held.begin - (p.x - held.x) / plot * span; draw(); }
  const inside = p.x >= left && p.x <= left + plot;
  now.style.display = inside ? "" : "none";
  for (const [key, value] of [["x1", p.x], ["x2", p.x], ["y1", top_ - 6], ["y2", bottom]])
    now.setAttribute(key, value);
  clock.textContent = inside ? p.t.toFixed(6) + " s" : "";
  const told = event.target.closest("[data-t]");
  tip.style.display = told && !held ? "block" : "none";
  if (told) {
    tip.textContent = told.dataset.t;
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8) + "px";
  }
});
svg.addEventListener("pointerleave", () => { tip.style.display = now.style.display = "none"; });
addEventListener("keydown", event => {
  const middle = begin + span / 2;
  if (event.target.closest("input,summary,pre") && event.key !== "0") return;
  if (event.key === "+") zoom(0.7, middle);
  else if (event.key === "-") zoom(1 / 0.7, middle);
  else if (event.key === "0") { begin = 0; span = end; draw(); }
  else if (event.key === "ArrowLeft") { begin -= span / 8; draw(); }
  else if (event.key === "ArrowRight") { begin += span / 8; draw(); }
});
for (const box of document.querySelectorAll("input[data-layer]")) box.addEventListener("change", () => {
  for (const node of svg.querySelectorAll("." + box.dataset.layer))
    node.style.visibility = box.checked ? "" : "hidden";
});
draw();
})();
"""

HELP = "wheel: look closer; drag or arrow keys: move; double click or 0: all of it"


def html(result: Result) -> str:
    """A whole page that needs nothing from elsewhere. Run with trace=True, as for svg()."""
    outcome = result.what or "nothing wrong was found"
    title = f"aisexec-sim, seed {result.plan.seed}"
    boxes = "".join(
        f'<label><input type="checkbox" checked data-layer="{cls}"> {words(text)}</label>'
        for cls, text in LAYERS
    )
    body = (
        element("h1", words(title)),
        element("div", words(outcome), cls="bad" if result.failed else ""),
        element("div", boxes, element("span", words(HELP)), '<b id="clock"></b>', cls="bar"),
        Picture(result).svg(),
        '<div id="tip"></div>',
        _folded("plan", result.plan.text()),
        _folded("timeline", trace(result)),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{words(title)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(body)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )


def _folded(name: str, text: str) -> str:
    return element("details", element("summary", words(name)), element("pre", words(text)))
