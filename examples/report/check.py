#!/usr/bin/env python3
"""Opens the page of `report --html` in headless Chromium: python3 examples/report/check.py BINARY [--picture]

Makes the page of records.py, once more with hostile names, and fails unless on both: the console is silent, every chart
has data, nothing is requested but the page itself, nothing of a name runs, nothing is wider than a window of 400 px, and
light, dark and paper render. Screenshots for a person stay in target/report. With --picture the picture of the README is
made anew. Needs `chromium` in the PATH, and nothing that Python has not.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "target/report"
CHARTS = {"latency", "agreement", "outcomes", "modes", "cost"}
PICTURE = HERE / "report.png"
PICTURE_BYTES = 200_000

# Runs in the page; returns what is wrong, and what was found.
LOOK = """(() => {
  const wrong = [], charts = {};
  for (const element of document.querySelectorAll("[data-chart]")) {
    const name = `${element.dataset.chart} of row ${element.dataset.row}`;
    charts[element.dataset.chart] = (charts[element.dataset.chart] || 0) + 1;
    if (!/^[0-9]+$/.test(element.dataset.row)) wrong.push(`${name}: no row`);
    if (!element.querySelector("figcaption")?.innerText.trim()) wrong.push(`${name}: no line says what it is`);
    const panels = [...element.querySelectorAll(".panel svg")], tables = [...element.querySelectorAll("table")];
    if (panels.length + tables.length === 0) wrong.push(`${name}: neither chart nor table`);
    for (const panel of panels) {
      const lines = [...panel.querySelectorAll("path.line")];
      const points = (line) => (line.getAttribute("d").match(/[ML]/g) || []).length;
      if (!lines.some((line) => points(line) > 1 && line.getBoundingClientRect().width + line.getBoundingClientRect().height > 1))
        wrong.push(`${name}: a chart without a line`);
      if (/NaN|inf/.test(panel.outerHTML)) wrong.push(`${name}: a place that is not a number`);
      const box = panel.getBoundingClientRect();
      for (const text of panel.querySelectorAll("text")) {
        const of = text.getBoundingClientRect();
        if (of.left < box.left - 1 || of.right > box.right + 1 || of.bottom > box.bottom + 1)
          wrong.push(`${name}: "${text.textContent}" is cut off`);
        if (of.height < 9) wrong.push(`${name}: "${text.textContent}" is ${of.height} px high`);
      }
    }
    for (const table of tables)
      if (table.querySelectorAll("tbody tr").length === 0) wrong.push(`${name}: a table without rows`);
  }
  for (const element of document.querySelectorAll("*"))
    for (const attribute of element.attributes) {
      if (/^on/i.test(attribute.name)) wrong.push(`an attribute ${attribute.name}`);
      if (["src", "href", "xlink:href", "srcset", "action"].includes(attribute.name) && !attribute.value.startsWith("#"))
        wrong.push(`a reference to ${attribute.value}`);
    }
  if (document.querySelector("script, iframe, object, embed, form, img, link, base")) wrong.push("an element that loads or runs");
  if (window.hit) wrong.push("a name was run");
  const verdicts = [...document.querySelectorAll("[data-verdict]")].map((one) => [one.dataset.verdict, one.dataset.route, one.innerText]);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  return JSON.stringify({wrong, charts, verdicts, wide, dark: getComputedStyle(document.body).backgroundColor});
})()"""


class Chromium:
    """A browser that is spoken to through a pipe: messages end with a zero byte."""

    def __init__(self, profile):
        ours, theirs = os.pipe(), os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
                 "--force-color-profile=srgb", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads commands from descriptor 3 and answers on 4.
        script = f'exec chromium "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        self.process = subprocess.Popen(["bash", "-c", script, "chromium", *flags], pass_fds=[ours[0], theirs[1]],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(ours[0])
        os.close(theirs[1])
        self.write, self.read = ours[1], theirs[0]
        self.buffer, self.number, self.session, self.events = b"", 0, None, []

    def message(self, seconds=60):
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            if not select.select([self.read], [], [], max(0, end - time.monotonic()))[0]:
                raise SystemExit("Chromium does not answer")
            part = os.read(self.read, 1 << 20)
            if not part:
                raise SystemExit("Chromium has ended")
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def ask(self, method, **parameters):
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data):]
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, page):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def window(self, width, scheme, scale=1):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=scale, mobile=False)
        self.ask("Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def look(self):
        # Two frames, so that a change of the window has been drawn.
        self.ask("Runtime.evaluate", awaitPromise=True,
                 expression="new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")
        return json.loads(self.ask("Runtime.evaluate", expression=LOOK)["result"]["value"])

    def screenshot(self, path, **clip):
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, **clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        os.close(self.write)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def make(binary, folder, name, *options):
    page = folder / f"{name}.html"
    records = subprocess.run([sys.executable, HERE / "records.py", *options], check=True, stdout=subprocess.PIPE).stdout
    subprocess.run([binary, "--config", HERE / "rollout.toml", "report", "-", "--html", page], input=records, check=True,
                   stdout=subprocess.DEVNULL)
    return page


def check(browser, page, name):
    """Returns what is wrong with a page; leaves its screenshots in OUT."""
    browser.open(page)
    wrong = []
    for shot, width, scheme in (("light", 1200, "light"), ("dark", 1200, "dark"), ("400px", 400, "light"), ("400px-dark", 400, "dark")):
        browser.window(width, scheme)
        found = browser.look()
        wrong += [f"{shot}: {one}" for one in found["wrong"]]
        wide = max(found["wide"], browser.ask("Page.getLayoutMetrics")["cssContentSize"]["width"] - width)
        if wide > 0:
            wrong.append(f"{shot}: {wide} px wider than the window")
        is_dark = sum(map(int, found["dark"].strip("rgb()").split(","))) < 384
        if is_dark != (scheme == "dark"):
            wrong.append(f"{shot}: the background is {found['dark']}")
        missing = CHARTS - set(found["charts"])
        if missing:
            wrong.append(f"{shot}: no chart of {missing}")
        if len(found["verdicts"]) != 3:
            wrong.append(f"{shot}: the verdicts are {found['verdicts']}")
        browser.screenshot(OUT / f"{name}-{shot}.png")
    # Paper is white, whatever the screen is.
    browser.ask("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    paper = base64.b64decode(browser.ask("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])
    (OUT / f"{name}.pdf").write_bytes(paper)
    if not paper.startswith(b"%PDF-") or len(paper) < 20_000:
        wrong.append(f"the paper has {len(paper)} bytes")
    for event in browser.events:
        method, parameters = event.get("method"), event.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            wrong.append(f"console: {json.dumps(parameters)[:300]}")
        if method == "Network.requestWillBeSent" and parameters["request"]["url"] != page.as_uri():
            wrong.append(f"a request to {parameters['request']['url'][:200]}")
    print(f"{name}: {page.stat().st_size} bytes, charts {found['charts']}, paper {len(paper)} bytes")
    return [f"{name}: {one}" for one in wrong]


def smaller(png):
    """Packs the pixels of a PNG again: Chromium packs them quickly, not well."""
    head, chunks, at, pixels = png[:8], [], 8, b""
    while at < len(png):
        length = int.from_bytes(png[at:at + 4], "big")
        kind, data = png[at + 4:at + 8], png[at + 8:at + 8 + length]
        at += 12 + length
        if kind == b"IDAT":
            pixels += data
        else:
            chunks.append((kind, data))
    chunks.insert(-1, (b"IDAT", zlib.compress(zlib.decompress(pixels), 9)))
    pack = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    return head + b"".join(pack(*chunk) for chunk in chunks)


def picture(browser, page):
    """The head of the page and the charts of its worst row, small enough for a README."""
    browser.open(page)
    browser.window(740, "light", 0.85)
    browser.ask("Runtime.evaluate", expression="""
      document.querySelectorAll("section").forEach((one) => { if (one.id !== "verdict" && one.id !== "row-1") one.remove(); });
      document.querySelectorAll("#row-1 > :not(h2, .about, figure), .links, #verdict > .about, figure .block:not(:has(.matrix)), footer").forEach((one) => one.remove());
      document.querySelectorAll("[data-chart=modes], [data-chart=cost]").forEach((one) => one.remove());""")
    browser.look()
    size = browser.ask("Page.getLayoutMetrics")["cssContentSize"]
    browser.screenshot(PICTURE, clip={"x": 0, "y": 0, "width": 740, "height": size["height"], "scale": 1})
    PICTURE.write_bytes(smaller(PICTURE.read_bytes()))
    if PICTURE.stat().st_size > PICTURE_BYTES:
        raise SystemExit(f"the picture has {PICTURE.stat().st_size} bytes, more than {PICTURE_BYTES}")


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    if not shutil.which("chromium"):
        raise SystemExit("there is no chromium in the PATH: the page was not looked at")
    binary = Path(sys.argv[1]).resolve()
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        browser = Chromium(folder / "profile")
        try:
            page = make(binary, folder, "example")
            wrong = check(browser, page, "example")
            wrong += check(browser, make(binary, folder, "hostile", "--hostile"), "hostile")
            if "--picture" in sys.argv:
                picture(browser, page)
        finally:
            browser.close()
    for one in wrong:
        print(one, file=sys.stderr)
    print(f"screenshots: {OUT}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
