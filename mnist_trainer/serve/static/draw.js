// A canvas to draw on, with a mouse, a pen or a finger.

const WIDTH = 640; // of the drawing, in its own units: the pixels of its picture

/**
 * Make `canvas` a drawing surface, and call `onChange` after each change. Return an object with its functions.
 *
 * It shows the strokes in the canvas's CSS colour; its picture is always black on white, as on paper.
 */
export function drawingSurface(canvas, onChange) {
  let strokes = []; // of {width, points: [[x, y], …]}
  let past = []; // the earlier values of `strokes`, for undo
  let current = null; // the stroke that is being drawn
  let pointer = null; // the id of the pointer that draws it
  let width = 20;

  const height = () => Math.round((WIDTH * canvas.clientHeight) / canvas.clientWidth) || WIDTH;

  function render() {
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(canvas.width / WIDTH, canvas.width / WIDTH);
    paint(pen, strokes, getComputedStyle(canvas).color);
  }

  function change(next) {
    past.push(strokes);
    strokes = next;
    render();
    onChange();
  }

  function points(event) {
    const frame = canvas.getBoundingClientRect();
    const scale = WIDTH / frame.width;
    const events = event.getCoalescedEvents?.() ?? [];
    return (events.length ? events : [event]).map((each) => [
      (each.clientX - frame.left) * scale,
      (each.clientY - frame.top) * scale,
    ]);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    current = { width, points: points(event) };
    change([...strokes, current]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    current.points.push(...points(event));
    render();
    onChange();
  });
  canvas.addEventListener("lostpointercapture", () => (pointer = current = null)); // also if the canvas is hidden
  new ResizeObserver(render).observe(canvas);
  document.addEventListener("themechange", function changeTheme() {
    if (canvas.isConnected) render();
    else document.removeEventListener("themechange", changeTheme);
  });

  return {
    setWidth: (value) => (width = value),
    isEmpty: () => strokes.length === 0,
    canUndo: () => past.length > 0,
    undo() {
      if (!past.length) return;
      strokes = past.pop();
      render();
      onChange();
    },
    clear: () => strokes.length && change([]),
    /** The last point that was drawn, in pixels of the picture. */
    lastPoint: () => strokes.at(-1)?.points.at(-1),
    /** Return the drawing as a PNG file. */
    async picture() {
      const paper = document.createElement("canvas");
      paper.width = WIDTH;
      paper.height = height();
      const pen = paper.getContext("2d");
      pen.fillStyle = "white";
      pen.fillRect(0, 0, paper.width, paper.height);
      paint(pen, strokes, "black");
      const content = await new Promise((resolve) => paper.toBlob(resolve, "image/png"));
      return new File([content], "drawing.png", { type: "image/png" });
    },
    size: () => [WIDTH, height()],
  };
}

/** Draw strokes as smooth curves through the midpoints between their points. */
function paint(pen, strokes, colour) {
  pen.strokeStyle = colour;
  pen.lineCap = pen.lineJoin = "round";
  for (const { width, points } of strokes) {
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (let index = 1; index < points.length; index++) {
      const [x, y] = points[index - 1];
      pen.quadraticCurveTo(x, y, (x + points[index][0]) / 2, (y + points[index][1]) / 2);
    }
    pen.lineTo(...points.at(-1));
    pen.stroke();
  }
}
