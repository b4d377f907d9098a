// A million points with WebGL 2: one draw call, colors from a palette in a texture. Points are
// shuffled, so that no class lies over all others, and so that a prefix is a fair picture: while
// the view moves, a prefix is drawn; the rest follows when it rests.

const VERTEX = `#version 300 es
in vec2 spot; in float code;
uniform vec2 center; uniform vec2 zoom; uniform float size; uniform sampler2D palette;
out vec4 ink;
void main() {
  ink = texelFetch(palette, ivec2(int(code), 0), 0);
  gl_Position = vec4((spot - center) * zoom, ink.a == 0.0 ? 2.0 : 0.0, 1.0);
  gl_PointSize = size;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 ink; uniform float alpha; uniform float size; out vec4 drawn;
void main() {
  float edge = size < 3.0 ? 1.0 : smoothstep(0.5, 0.5 - 1.0 / size, distance(gl_PointCoord, vec2(0.5)));
  drawn = vec4(ink.rgb, 1.0) * alpha * edge;
}`;
const MOVING_POINTS = 60_000,
  REST_MS = 140,
  SIDE = 256;

export class Points {
  /** @param spots Float32Array of x, y pairs; @param codes Uint8Array, a place in the palette each. */
  constructor(canvas, spots, codes, onframe) {
    this.canvas = canvas;
    this.spots = spots;
    this.count = codes.length;
    this.onframe = onframe;
    this.view = { x: 0, y: 0, scale: 1 };
    this.order = shuffled(this.count);
    this.gl = canvas.getContext("webgl2", {
      antialias: false,
      alpha: true,
      premultipliedAlpha: true,
    });
    if (!this.gl) throw new Error("This browser has no WebGL 2, which the map is drawn with.");
    this.start(codes);
    this.cells = cellsOf(spots, this.count);
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.start(codes);
      this.setPalette(this.colors);
    });
  }

  start(codes) {
    const { gl } = this;
    const program = (this.program = link(gl));
    gl.useProgram(program);
    const pairs = new Float32Array(2 * this.count),
      mixed = new Uint8Array(this.count);
    for (let i = 0; i < this.count; i += 1) {
      const from = this.order[i];
      pairs[2 * i] = this.spots[2 * from];
      pairs[2 * i + 1] = this.spots[2 * from + 1];
      mixed[i] = codes[from];
    }
    attribute(gl, program, "spot", pairs, 2, gl.FLOAT);
    attribute(gl, program, "code", mixed, 1, gl.UNSIGNED_BYTE);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  /** Colors of codes: 256 times red, green, blue, and 0 or 255 for hidden or shown. */
  setPalette(colors) {
    const { gl } = this;
    this.colors = colors;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colors);
    this.draw(true);
  }

  /** Draws a frame soon: all points, or a prefix while something moves. */
  draw(whole = false) {
    this.whole = whole || this.count <= MOVING_POINTS;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
    clearTimeout(this.resting);
    if (!this.whole) this.resting = setTimeout(() => this.draw(true), REST_MS);
  }

  paint() {
    const { gl, canvas } = this,
      ratio = Math.min(devicePixelRatio || 1, 2);
    const [w, h] = [
      Math.round(canvas.clientWidth * ratio),
      Math.round(canvas.clientHeight * ratio),
    ];
    if (!w || !h || gl.isContextLost()) return;
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    const [zx, zy] = this.zooms(w, h);
    const { scale } = this.view,
      crowd = Math.max(1, Math.sqrt(this.count / 3000));
    const size = Math.min(14, Math.max(1.3, (7 / crowd) * Math.sqrt(scale))) * ratio;
    const alpha = Math.min(0.92, Math.max(0.16, 90 / Math.sqrt(this.count)) * scale ** 0.7);
    gl.viewport(0, 0, w, h);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const at = (name) => gl.getUniformLocation(this.program, name);
    gl.uniform2f(at("center"), this.view.x, this.view.y);
    gl.uniform2f(at("zoom"), zx, zy);
    gl.uniform1f(at("size"), size);
    gl.uniform1f(at("alpha"), alpha);
    const drawn = this.whole ? this.count : MOVING_POINTS;
    gl.drawArrays(gl.POINTS, 0, drawn);
    canvas.dataset.drawn = String(drawn);
    this.onframe();
  }

  /** Factors from the plane to −1 … 1 of a frame of w by h. */
  zooms(w, h) {
    const side = Math.min(w, h),
      k = 0.96 * this.view.scale;
    return [(k * side) / w, (k * side) / h];
  }

  /** Pixels of a place, from the top left corner. */
  toScreen(x, y) {
    const { clientWidth: w, clientHeight: h } = this.canvas,
      [zx, zy] = this.zooms(w, h);
    return [((x - this.view.x) * zx + 1) * (w / 2), (1 - (y - this.view.y) * zy) * (h / 2)];
  }

  toPlane(px, py) {
    const { clientWidth: w, clientHeight: h } = this.canvas,
      [zx, zy] = this.zooms(w, h);
    return [((px / w) * 2 - 1) / zx + this.view.x, (1 - (py / h) * 2) / zy + this.view.y];
  }

  pan(dx, dy) {
    const [a, b] = this.toPlane(0, 0),
      [c, d] = this.toPlane(dx, dy);
    this.view.x = clamp(this.view.x - (c - a), -1.2, 1.2);
    this.view.y = clamp(this.view.y - (d - b), -1.2, 1.2);
    this.draw();
  }

  /** Zooms by a factor around a pixel, the middle where none is given. */
  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const [x, y] = this.toPlane(px, py);
    this.view.scale = clamp(this.view.scale * factor, 0.5, 400);
    const [nx, ny] = this.toPlane(px, py);
    this.view.x += x - nx;
    this.view.y += y - ny;
    this.draw();
  }

  show(x, y, scale) {
    this.view = { x, y, scale };
    this.draw(true);
  }

  /** The point nearest to a pixel, within some pixels; −1 for none. `isShown` takes a point. */
  pick(px, py, within, isShown) {
    const [x, y] = this.toPlane(px, py),
      [ex] = this.toPlane(px + within, py),
      reach = ex - x;
    const { starts, members } = this.cells;
    const cell = (v) => clamp(Math.floor(((v + 1) / 2) * SIDE), 0, SIDE - 1);
    let best = -1,
      least = reach * reach;
    for (let row = cell(y - reach); row <= cell(y + reach); row += 1) {
      for (let col = cell(x - reach); col <= cell(x + reach); col += 1) {
        const at = row * SIDE + col;
        for (let i = starts[at]; i < starts[at + 1]; i += 1) {
          const p = members[i],
            dx = this.spots[2 * p] - x,
            dy = this.spots[2 * p + 1] - y,
            d = dx * dx + dy * dy;
          if (d < least && isShown(p)) [best, least] = [p, d];
        }
      }
    }
    return best;
  }
}

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

/** The points of every cell of a grid, one cell after the other (a counting sort). */
function cellsOf(spots, count) {
  const cell = (i) => {
    const col = clamp(Math.floor(((spots[2 * i] + 1) / 2) * SIDE), 0, SIDE - 1);
    return clamp(Math.floor(((spots[2 * i + 1] + 1) / 2) * SIDE), 0, SIDE - 1) * SIDE + col;
  };
  const starts = new Uint32Array(SIDE * SIDE + 1),
    members = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) starts[cell(i) + 1] += 1;
  for (let i = 0; i < SIDE * SIDE; i += 1) starts[i + 1] += starts[i];
  const next = starts.slice();
  for (let i = 0; i < count; i += 1) {
    const at = cell(i);
    members[next[at]] = i;
    next[at] += 1;
  }
  return { starts, members };
}

/** 0 … count−1 in an order that looks random and is the same every time. */
function shuffled(count) {
  const order = new Uint32Array(count);
  let state = 0x9e3779b9;
  for (let i = 0; i < count; i += 1) {
    order[i] = i;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const other = (state >>> 0) % (i + 1),
      mine = order[i];
    order[i] = order[other];
    order[other] = mine;
  }
  return order;
}

function link(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS))
    throw new Error(gl.getProgramInfoLog(program));
  return program;
}

function attribute(gl, program, name, values, width, type) {
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  const place = gl.getAttribLocation(program, name);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, width, type, false, 0, 0);
}
