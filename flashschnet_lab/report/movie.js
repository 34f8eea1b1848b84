// The molecule of a report: frames as 16-bit integers in base64, played on the canvas above.

(function () {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const dark = () => (root.dataset.theme
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const listeners = [];
  theme.onclick = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    listeners.forEach((tell) => tell());
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener(
    "change", () => listeners.forEach((tell) => tell()));

  const stored = document.getElementById("movie-data");
  if (!stored) return;
  const movie = JSON.parse(stored.textContent);
  const find = (name) => document.getElementById(name);
  const canvas = find("molecule"), course = find("course"), slider = find("frame");
  const play = find("play"), says = find("says"), replica = find("replica");
  const native = find("native");
  const FRAME_MS = 50;

  function integers(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Int16Array(bytes.buffer);
  }

  function angstroms(packed, start, count) {
    const found = new Float32Array(count);
    for (let k = 0; k < count; k++) found[k] = packed[start + k] * movie.resolution;
    return found;
  }

  function color(name) {  // of the page, as [r, g, b]
    const hex = getComputedStyle(root).getPropertyValue(name).trim();
    return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  }

  let mist = color("--stage");
  const packed = movie.replicas.map((one) => integers(one.frames));
  const size = 3 * movie.radii.length;
  const view = beadCanvas(canvas, movie, { mist: () => mist, style: find("style").value });
  const ghost = movie.native ? angstroms(integers(movie.native), 0, size) : null;
  let frame = 0, timer = null;
  view.centre([0, 0, 0]);

  function show() {
    const which = Number(replica.value), one = movie.replicas[which];
    view.show(angstroms(packed[which], frame * size, size));
    const lines = [`replica ${one.number} · ${movie.times[frame].toFixed(1)} ps`
      + (movie.kelvin ? ` · ${movie.kelvin[which][frame].toFixed(0)} K` : "")];
    const values = movie.shown.map((kind, k) => {
      const value = one.values[k][frame];
      return value === null ? null : `${kind.title} ${value.toFixed(2)}${kind.unit}`;
    });
    lines.push(values.includes(null) ? "stopped" : values.join(" · "));
    says.textContent = lines.join("\n");
    slider.value = frame;
    slider.setAttribute("aria-valuetext", lines.join(", "));
    canvas.dataset.frame = frame;
    drawCourse();
  }

  function drawCourse() {  // the first value over time, with a mark at this frame
    const pen = course.getContext("2d"), pixels = devicePixelRatio || 1;
    const wide = course.clientWidth, high = course.clientHeight, rim = 10;
    if (!wide || !movie.shown.length) return;
    course.width = wide * pixels;
    course.height = high * pixels;
    pen.scale(pixels, pixels);
    const all = movie.replicas.flatMap((one) => one.values[0]).filter((v) => v !== null);
    const low = Math.min(...all), reach = Math.max(...all) - low || 1;
    const x = (k) => rim + (wide - 2 * rim) * k / Math.max(1, movie.times.length - 1);
    const y = (v) => high - rim - (high - rim - 22) * (v - low) / reach;  // below the title
    const css = getComputedStyle(root);
    const trace = (one, style, thickness) => {
      pen.strokeStyle = css.getPropertyValue(style);
      pen.lineWidth = thickness;
      pen.beginPath();
      let down = false;
      one.values[0].forEach((value, k) => {
        if (value !== null) pen[down ? "lineTo" : "moveTo"](x(k), y(value));
        down = value !== null;
      });
      pen.stroke();
    };
    if (movie.replicas.length <= 12) movie.replicas.forEach((one) => trace(one, "--rule", 1));
    trace(movie.replicas[Number(replica.value)], "--accent", 1.5);
    pen.strokeStyle = css.getPropertyValue("--ink");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x(frame), 20);
    pen.lineTo(x(frame), high - 2);
    pen.stroke();
    pen.fillStyle = css.getPropertyValue("--quiet");
    pen.font = "12px system-ui, sans-serif";
    const first = movie.shown[0];
    pen.fillText(`${first.title}${first.unit ? ` (${first.unit.trim()})` : ""} over time`, rim, 14);
  }

  function go(to) {
    frame = Math.max(0, Math.min(movie.times.length - 1, to));
    show();
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
    play.setAttribute("aria-pressed", "false");
  }

  function start() {
    timer = setInterval(() => go((frame + 1) % movie.times.length), FRAME_MS);
    play.textContent = "❚❚ Pause";
    play.setAttribute("aria-pressed", "true");
  }

  play.onclick = () => (timer ? pause() : start());
  slider.oninput = () => { pause(); go(Number(slider.value)); };
  replica.onchange = show;
  find("style").onchange = (event) => { view.look.style = event.target.value; view.redraw(); };
  if (native) native.onchange = () => view.ghost(native.checked ? ghost : null);
  find("reset").onclick = () => view.reset();
  const jump = (event) => {
    const box = course.getBoundingClientRect();
    pause();
    go(Math.round((event.clientX - box.left - 10) / (box.width - 20) * (movie.times.length - 1)));
  };
  course.onpointerdown = (event) => { course.setPointerCapture(event.pointerId); jump(event); };
  course.onpointermove = (event) => { if (event.buttons) jump(event); };
  const turned = canvas.onkeydown;
  canvas.onkeydown = (event) => {
    if (event.key === " ") { play.onclick(); event.preventDefault(); } else turned(event);
  };
  canvas.ondblclick = () => view.reset();
  const fit = () => {
    view.resize(canvas.clientWidth, canvas.clientHeight, Math.min(2, devicePixelRatio || 1));
    drawCourse();
  };
  new ResizeObserver(fit).observe(canvas);
  listeners.push(() => { mist = color("--stage"); view.redraw(); drawCourse(); });
  fit();
  show();
})();
