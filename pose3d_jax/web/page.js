// Runs the exported network on a photo or on the camera's frames; see __init__.py.
// index.html?photo=URL&box=x,y,width,height starts with a photo.

import * as ort from "./ort.wasm.min.mjs";
import { settings } from "./settings.js";

ort.env.wasm.numThreads = 1; // Threads need cross-origin isolation, which static servers lack.
const { side, maxZoom, names, bones } = settings;
const byId = (id) => document.getElementById(id);
const photoCanvas = byId("photo");
const viewCanvas = byId("view");
const say = (text) => { byId("status").textContent = text; };

let picture = null; // { source: canvas, pixels: ImageData }
let square = null; // { x, y, side }: centre and side, px of the picture
let pose = null; // { joints2d, joints3d, scores }
let session = null;
let turn = 0.6;
let tilt = 0.15;

/** The network's input for a square: means of blocks of pixels, then bilinear samples. */
export function cropSquare(pixels, { x, y, side: extent }) {
  const { width, height, data } = pixels;
  const factor = Math.max(Math.ceil(extent / (maxZoom * side)), 1);
  const half = Math.ceil(extent / factor / 2) + 2;
  const cornerX = Math.floor(x) - factor * half;
  const cornerY = Math.floor(y) - factor * half;
  const size = 2 * half;
  const patch = new Float32Array(size * size * 3);
  for (let row = 0; row < size * factor; row++) {
    const sy = cornerY + row;
    if (sy < 0 || sy >= height) continue;
    for (let column = 0; column < size * factor; column++) {
      const sx = cornerX + column;
      if (sx < 0 || sx >= width) continue;
      const to = (Math.floor(row / factor) * size + Math.floor(column / factor)) * 3;
      const from = (sy * width + sx) * 4;
      for (let channel = 0; channel < 3; channel++) patch[to + channel] += data[from + channel];
    }
  }
  const scale = 1 / factor ** 2;
  for (let i = 0; i < patch.length; i++) patch[i] = Math.floor(patch[i] * scale + 0.5);
  const zoom = extent / factor / side;
  const place = (centre, corner, i) =>
    (centre - corner) / factor + (i + 0.5 - side / 2) * zoom - 0.5;
  const crop = new Uint8Array(side * side * 3);
  for (let i = 0; i < side; i++) {
    const v = place(y, cornerY, i);
    const top = Math.floor(v);
    for (let j = 0; j < side; j++) {
      const u = place(x, cornerX, j);
      const left = Math.floor(u);
      for (let channel = 0; channel < 3; channel++) {
        const at = (row, column) => patch[(row * size + column) * 3 + channel];
        const upper = at(top, left) * (left + 1 - u) + at(top, left + 1) * (u - left);
        const lower = at(top + 1, left) * (left + 1 - u) + at(top + 1, left + 1) * (u - left);
        const value = upper * (top + 1 - v) + lower * (v - top);
        crop[(i * side + j) * 3 + channel] = Math.round(value);
      }
    }
  }
  return crop;
}

async function predict() {
  if (!session || !picture) return;
  const crop = cropSquare(picture.pixels, square);
  const start = performance.now();
  const feeds = { [session.inputNames[0]]: new ort.Tensor("uint8", crop, [1, side, side, 3]) };
  const outputs = await session.run(feeds);
  const [flat2d, flat3d, scores] = session.outputNames.map((name) => Array.from(outputs[name].data));
  const corner = [square.x - square.side / 2, square.y - square.side / 2];
  pose = {
    joints2d: names.map((_, j) => [0, 1].map((k) => corner[k] + (flat2d[2 * j + k] * square.side) / side)),
    joints3d: names.map((_, j) => flat3d.slice(3 * j, 3 * j + 3)),
    scores,
  };
  say(`${Math.round(performance.now() - start)} ms`);
  byId("result").textContent = JSON.stringify({ ...pose, square });
  draw();
}

const colour = (joint) =>
  names[joint].includes("right") ? "#eb5a28" : names[joint].includes("left") ? "#288cfa" : "#f0c020";
const boneColour = ([a, b]) => (/right|left/.test(names[a]) ? colour(a) : colour(b));

function drawSkeleton(context, points, width) {
  context.lineWidth = width;
  context.lineCap = "round";
  for (const bone of bones) {
    context.strokeStyle = boneColour(bone);
    context.beginPath();
    context.moveTo(...points[bone[0]]);
    context.lineTo(...points[bone[1]]);
    context.stroke();
  }
}

function draw() {
  if (!picture) return;
  const { width, height } = picture.source;
  const zoom = Math.min(560 / width, 560 / height);
  photoCanvas.width = width * zoom;
  photoCanvas.height = height * zoom;
  const context = photoCanvas.getContext("2d");
  context.drawImage(picture.source, 0, 0, photoCanvas.width, photoCanvas.height);
  context.strokeStyle = "#fff";
  const { x, y, side: extent } = square;
  context.strokeRect((x - extent / 2) * zoom, (y - extent / 2) * zoom, extent * zoom, extent * zoom);
  if (!pose) return;
  drawSkeleton(context, pose.joints2d.map(([u, v]) => [u * zoom, v * zoom]), 4);
  drawView();
}

function drawView() {
  const context = viewCanvas.getContext("2d");
  context.clearRect(0, 0, viewCanvas.width, viewCanvas.height);
  const longest = Math.max(...pose.joints3d.map((joint) => Math.hypot(...joint)));
  const zoom = (0.45 * viewCanvas.height) / longest;
  const points = pose.joints3d.map(([x, y, z]) => {
    const across = x * Math.cos(turn) + z * Math.sin(turn);
    const away = z * Math.cos(turn) - x * Math.sin(turn);
    const down = y * Math.cos(tilt) + away * Math.sin(tilt);
    return [viewCanvas.width / 2 + across * zoom, viewCanvas.height / 2 + down * zoom];
  });
  drawSkeleton(context, points, 5);
}

function show(image, width, height, box = null) {
  const source = document.createElement("canvas");
  source.width = width;
  source.height = height;
  const context = source.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  picture = { source, pixels: context.getImageData(0, 0, width, height) };
  if (box) square = { x: box[0] + box[2] / 2, y: box[1] + box[3] / 2, side: Math.max(box[2], box[3]) };
  else square = { x: width / 2, y: height / 2, side: Math.min(width, height) };
  pose = null;
  draw();
  return predict();
}

async function open(blob, box = null) {
  try {
    const image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    await show(image, image.width, image.height, box);
  } catch (error) {
    say(`This file cannot be opened: ${error.message}`);
  }
}

let camera = null;
async function useCamera() {
  if (camera) {
    camera.getTracks().forEach((track) => track.stop());
    camera = null;
    return;
  }
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    say(`No camera: ${error.message}`);
    return;
  }
  const video = document.createElement("video");
  video.srcObject = camera;
  await video.play();
  while (camera) {
    await show(video, video.videoWidth, video.videoHeight);
    await new Promise(requestAnimationFrame);
  }
}

function dragging(canvas, move, end = () => {}) {
  canvas.addEventListener("pointerdown", (down) => {
    canvas.setPointerCapture(down.pointerId);
    const onMove = (event) => move(down, event);
    canvas.addEventListener("pointermove", onMove);
    canvas.addEventListener("pointerup", () => {
      canvas.removeEventListener("pointermove", onMove);
      end();
    }, { once: true });
  });
}

dragging(viewCanvas, (_, event) => {
  turn += event.movementX / 100;
  tilt = Math.max(-1.5, Math.min(1.5, tilt + event.movementY / 100));
  if (pose) drawView();
});
dragging(photoCanvas, (down, event) => {
  if (!picture) return;
  const zoom = photoCanvas.width / picture.source.width;
  const ends = [down.offsetX, event.offsetX, down.offsetY, event.offsetY].map((px) => px / zoom);
  const extent = Math.max(Math.abs(ends[1] - ends[0]), Math.abs(ends[3] - ends[2]), 8);
  square = { x: (ends[0] + ends[1]) / 2, y: (ends[2] + ends[3]) / 2, side: extent };
  draw();
}, predict);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
byId("file").addEventListener("change", (event) => open(event.target.files[0]));
byId("camera").addEventListener("click", useCamera);

session = await ort.InferenceSession.create("pose.onnx", { executionProviders: ["wasm"] });
say("Ready.");
const query = new URLSearchParams(location.search);
if (query.has("photo")) {
  const box = query.has("box") ? query.get("box").split(",").map(Number) : null;
  await open(await (await fetch(query.get("photo"))).blob(), box);
} else await predict();
