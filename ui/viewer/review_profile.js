// Clearance along the tool as a chart: a curve for each structure, bone and air as bands, and the depth that is shown.

const BAND = { bone: 'rgba(239, 108, 0, 0.4)', air: 'rgba(2, 137, 209, 0.45)', outside: 'rgba(158, 158, 158, 0.3)' };
const LEFT = 34, BOTTOM = 20, TOP = 8, RIGHT = 8;

export function scaleOf(profile, [width, height]) {
  const length = profile.distance_mm[profile.distance_mm.length - 1] || 1;
  const values = Object.values(profile.clearance_mm).flat().filter((value) => value !== null);
  const low = Math.min(0, ...values), lowest = Math.min(...values, Infinity);
  const high = Math.max(10, Math.min(Math.max(...values, 0), Number.isFinite(lowest) ? lowest + 25 : 10));
  return {
    length, low: low - 1, high,
    x: (mm) => LEFT + (mm / length) * (width - LEFT - RIGHT),
    y: (mm) => TOP + ((high - Math.min(mm, high)) / (high - low + 1)) * (height - TOP - BOTTOM),
    depth: (x) => Math.min(Math.max(((x - LEFT) / (width - LEFT - RIGHT)) * length, 0), length),
  };
}

export function drawProfile(pen, [width, height], { profile, crossings, colours, depthMm }) {
  pen.fillStyle = '#0d1218';
  pen.fillRect(0, 0, width, height);
  const at = scaleOf(profile, [width, height]), bottom = height - BOTTOM;
  (crossings || []).forEach((one) => {
    pen.fillStyle = BAND[one.kind] || BAND.outside;
    pen.fillRect(at.x(one.from_mm), TOP, Math.max(at.x(one.to_mm) - at.x(one.from_mm), 1), bottom - TOP);
  });
  pen.fillStyle = 'rgba(214, 58, 58, 0.22)';
  pen.fillRect(LEFT, at.y(0), width - LEFT - RIGHT, bottom - at.y(0));
  pen.font = '11px system-ui, sans-serif';
  pen.textBaseline = 'middle';
  pen.fillStyle = '#c9d4de';
  pen.textAlign = 'right';
  [0, Math.round(at.high / 2), Math.round(at.high)].forEach((mm) => pen.fillText(mm, LEFT - 5, at.y(mm)));
  pen.textAlign = 'center';
  [0, 0.25, 0.5, 0.75, 1].forEach((part) => pen.fillText(Math.round(part * at.length), at.x(part * at.length), bottom + 10));
  pen.lineWidth = 1.8;
  Object.entries(profile.clearance_mm).forEach(([name, values]) => {
    pen.strokeStyle = colours[name] || '#e8edf2';
    pen.beginPath();
    let isOn = false;
    values.forEach((value, n) => {
      if (value === null) { isOn = false; return; }
      const place = [at.x(profile.distance_mm[n]), at.y(value)];
      if (isOn) pen.lineTo(...place); else pen.moveTo(...place);
      isOn = true;
    });
    pen.stroke();
  });
  pen.strokeStyle = '#ffffff';
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(at.x(depthMm), TOP);
  pen.lineTo(at.x(depthMm), bottom);
  pen.stroke();
}
