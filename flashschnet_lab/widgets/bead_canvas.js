// A molecule on a flat canvas: drawn from the back to the front, turned by dragging, without WebGL.
//
// molecule: bonds (pairs of beads), radii (angstrom) and colors (#rrggbb) of the beads, span (the
// angstroms that the view shows), and for a tube chains (lists of beads along it) and pins (pairs).
// look: mist, a function that returns the background [r, g, b]; style, "beads" or "tube".
// Positions are [x, y, z, x, y, z, ...]: right, up, towards the eye.

function beadCanvas(canvas, molecule, look) {
  const pen = canvas.getContext("2d");
  const HALO = 2.2, RIM = 1.5, STEPS = 10, EYE = 2.6, TUBE = 1.6;  // angstrom
  const still = [1, 0, 0, 0, 1, 0, 0, 0, 1];
  let turn = still, zoom = 1, positions = null, ghost = null, middle = null;
  let width = canvas.width, height = canvas.height, ratio = 1, asked = 0, drawn = 0;
  const parsed = new Map();

  function channels(color) {
    if (!parsed.has(color)) {
      parsed.set(color, [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16)));
    }
    return parsed.get(color);
  }

  function mix(from, to, share) {  // share 1 is all of the first
    return from.map((part, k) => to[k] + share * (part - to[k]));
  }

  function css(parts, alpha = 1) {
    return `rgba(${parts.map(Math.round).join()},${alpha})`;
  }

  function project(points) {
    const c = middle ?? [0, 1, 2].map((k) => {
      let sum = 0;
      for (let i = k; i < points.length; i += 3) sum += points[i];
      return sum / (points.length / 3);
    });
    const scale = zoom * 0.9 * Math.min(width, height) / molecule.span;
    const found = [];
    for (let i = 0; i < points.length; i += 3) {
      const [x, y, z] = [points[i] - c[0], points[i + 1] - c[1], points[i + 2] - c[2]];
      const near = turn[6] * x + turn[7] * y + turn[8] * z;
      const size = scale / Math.max(0.3, 1 - near / (EYE * molecule.span));  // as an eye sees it
      found.push({
        x: width / 2 + size * (turn[0] * x + turn[1] * y + turn[2] * z),
        y: height / 2 - size * (turn[3] * x + turn[4] * y + turn[5] * z),
        near, size,
      });
    }
    return found;
  }

  function curve(points) {  // a Catmull-Rom spline through points with x, y, near and size
    const names = ["x", "y", "near", "size"];
    const at = (i) => points[Math.max(0, Math.min(points.length - 1, i))];
    const found = [];
    for (let i = 0; i + 1 < points.length; i++) {
      for (let s = 0; s < STEPS; s++) {
        const t = s / STEPS, point = { place: i + t };
        for (const name of names) {
          const [a, b, c, d] = [at(i - 1), at(i), at(i + 1), at(i + 2)].map((p) => p[name]);
          point[name] = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t
                               + (3 * b - a - 3 * c + d) * t * t * t);
        }
        found.push(point);
      }
    }
    found.push({ ...points[points.length - 1], place: points.length - 1 });
    return found;
  }

  function line(points, style, thickness, dx = 0, dy = 0) {
    pen.beginPath();
    pen.moveTo(points[0].x + dx, points[0].y + dy);
    for (const point of points.slice(1)) pen.lineTo(point.x + dx, point.y + dy);
    pen.strokeStyle = style;
    pen.lineWidth = thickness;
    pen.stroke();
  }

  function ball(point, radius, color, share, mist) {
    const size = Math.max(1.5, radius * point.size);
    const base = channels(color);
    const shade = pen.createRadialGradient(
      point.x - 0.35 * size, point.y - 0.4 * size, 0.1 * size, point.x, point.y, size);
    shade.addColorStop(0, css(mix(mix([255, 255, 255], base, 0.65), mist, share)));
    shade.addColorStop(0.45, css(mix(base, mist, share)));
    shade.addColorStop(1, css(mix(mix([16, 24, 32], base, 0.35), mist, share)));
    pen.fillStyle = shade;
    pen.beginPath();
    pen.arc(point.x, point.y, size, 0, 2 * Math.PI);
    pen.fill();
  }

  function parts(points, tube, mist) {  // what is drawn: how near it is, and how it is drawn
    const found = [];
    if (!tube) {
      points.forEach((point, bead) => found.push({
        near: point.near,
        draw: (share) => ball(point, molecule.radii[bead], molecule.colors[bead], share, mist),
      }));
      for (let k = 0; k < molecule.bonds.length; k += 2) {
        const ends = [points[molecule.bonds[k]], points[molecule.bonds[k + 1]]];
        const near = (ends[0].near + ends[1].near) / 2;
        const wide = 0.42 * (ends[0].size + ends[1].size) / 2;
        found.push({ near: near - 1e-3, draw: (share) => {
          line(ends, css(mix([104, 114, 124], mist, share)), wide);
          line(ends, css(mix([176, 184, 192], mist, share)), 0.4 * wide, -0.1 * wide, -0.15 * wide);
        } });
      }
      return found;
    }
    for (const chain of molecule.chains) {
      const bends = curve(chain.map((bead) => points[bead]));
      const tones = chain.map((bead) => channels(molecule.colors[bead]));
      for (let k = 0; k + 1 < bends.length; k++) {
        const ends = bends.slice(k, k + 2), { near, place, size } = bends[k];
        const at = Math.floor(place);
        const base = mix(tones[Math.min(at + 1, tones.length - 1)], tones[at], place - at);
        const dark = mix([16, 24, 32], base, 0.4), light = mix([255, 255, 255], base, 0.55);
        const wide = TUBE * size;
        // The rim lies further back than the tube: it parts crossing strands, not neighbours.
        found.push({ near: near - HALO, draw: () => line(ends, css(mist), 1.5 * wide) });
        found.push({ near: near - RIM, draw: (share) => line(
          ends, css(mix(dark, mist, share)), 1.14 * wide) });
        found.push({ near, draw: (share) => line(ends, css(mix(base, mist, share)), wide) });
        found.push({ near: near + 0.9, draw: (share) => line(
          ends, css(mix(light, mist, share)), 0.22 * wide, -0.14 * wide, -0.2 * wide) });
      }
    }
    for (let k = 0; k < molecule.pins.length; k += 2) {
      const [foot, head] = [molecule.pins[k], molecule.pins[k + 1]];
      const ends = [points[foot], points[head]];
      const near = (ends[0].near + ends[1].near) / 2;
      found.push({ near: near - 0.2, draw: (share) => line(
        ends, css(mix([142, 152, 162], mist, share)), 0.5 * ends[0].size) });
      found.push({ near: ends[1].near, draw: (share) => ball(
        ends[1], 0.72, "#aab3bc", share, mist) });
    }
    return found;
  }

  function draw() {
    asked = 0;
    if (!positions) return;
    const mist = look.mist();
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.lineCap = pen.lineJoin = "round";
    if (ghost) {
      const points = project(ghost);
      for (const chain of molecule.chains) {
        const bends = curve(chain.map((bead) => points[bead]));
        line(bends, css(mix([128, 138, 148], mist, 0.5)), 0.8 * points[chain[0]].size);
      }
    }
    const points = project(positions);
    const depths = points.map((point) => point.near);
    const far = Math.min(...depths), reach = Math.max(...depths) - far || 1;
    const drawing = parts(points, look.style === "tube", mist);
    drawing.sort((a, b) => a.near - b.near);  // the farthest first
    for (const part of drawing) {
      part.draw(0.6 + 0.4 * Math.max(0, Math.min(1, (part.near - far) / reach)));
    }
    drawn += 1;
    canvas.dataset.drawn = drawn;
    canvas.dataset.x = positions[0];
    canvas.dataset.turn = turn.map((part) => part.toFixed(3)).join();
  }

  function ask() {  // at most one drawing per picture of the screen
    if (!asked) asked = requestAnimationFrame(draw);
  }

  function rotate(right, down) {  // radians, around the axes of the screen
    const [cx, sx, cy, sy] = [Math.cos(down), Math.sin(down), Math.cos(right), Math.sin(right)];
    const by = [cy, 0, sy, sx * sy, cx, -sx * cy, -cx * sy, sx, cx * cy];
    const next = [];
    for (let row = 0; row < 3; row++) {
      for (let column = 0; column < 3; column++) {
        next.push([0, 1, 2].reduce((sum, k) => sum + by[3 * row + k] * turn[3 * k + column], 0));
      }
    }
    turn = next;
    ask();
  }

  function magnify(factor) {
    zoom = Math.max(0.2, Math.min(12, zoom * factor));
    ask();
  }

  const fingers = new Map();
  canvas.style.cursor = "grab";
  canvas.style.touchAction = "none";
  canvas.onpointerdown = (event) => {
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.setPointerCapture(event.pointerId);
    canvas.style.cursor = "grabbing";
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    fingers.delete(event.pointerId);
    canvas.style.cursor = "grab";
  };
  canvas.onpointermove = (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    if (fingers.size === 1) {
      rotate((now[0] - before[0]) / 120, (now[1] - before[1]) / 120);
    } else {  // two fingers that part come closer
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) + 1;
      magnify(apart(now) / apart(before));
    }
    fingers.set(event.pointerId, now);
  };
  canvas.onwheel = (event) => {
    event.preventDefault();
    magnify(Math.exp(-event.deltaY / 600));
  };
  canvas.onkeydown = (event) => {
    const turns = {
      ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15],
    };
    if (turns[event.key]) rotate(...turns[event.key]);
    else if (event.key === "+" || event.key === "=") magnify(1.15);
    else if (event.key === "-") magnify(1 / 1.15);
    else return;
    event.preventDefault();
  };

  return {
    look,
    show(next) { positions = next; ask(); },
    ghost(next) { ghost = next; ask(); },
    centre(point) { middle = point; ask(); },
    resize(wide, high, pixels) {
      [width, height, ratio] = [wide, high, pixels];
      canvas.width = Math.round(wide * pixels);
      canvas.height = Math.round(high * pixels);
      ask();
    },
    reset() { turn = still; zoom = 1; ask(); },
    rotate,
    redraw: ask,
    stop() { cancelAnimationFrame(asked); },
  };
}
