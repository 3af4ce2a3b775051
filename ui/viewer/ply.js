// Triangles of a binary PLY file: vertices in LPS mm, their colours if there are any, and three indices to a face.

const READ = {
  char: [1, 'getInt8'], int8: [1, 'getInt8'], uchar: [1, 'getUint8'], uint8: [1, 'getUint8'],
  short: [2, 'getInt16'], int16: [2, 'getInt16'], ushort: [2, 'getUint16'], uint16: [2, 'getUint16'],
  int: [4, 'getInt32'], int32: [4, 'getInt32'], uint: [4, 'getUint32'], uint32: [4, 'getUint32'],
  float: [4, 'getFloat32'], float32: [4, 'getFloat32'], double: [8, 'getFloat64'], float64: [8, 'getFloat64'],
};
const END = 'end_header\n';
const MOST_HEADER = 65536;

function kindOf(name) {
  if (!(name in READ)) throw new Error('PLY type ' + name);
  return { size: READ[name][0], get: READ[name][1] };
}

function headerOf(buffer) {
  const words = new TextDecoder('latin1').decode(new Uint8Array(buffer, 0, Math.min(buffer.byteLength, MOST_HEADER)));
  const end = words.indexOf(END);
  if (!words.startsWith('ply\n') || end < 0) throw new Error('not a PLY file');
  const lines = words.slice(0, end).split('\n').map((line) => line.split(' '));
  if (!lines.some(([word, form]) => word === 'format' && form === 'binary_little_endian')) throw new Error('PLY of another form');
  const elements = [];
  lines.forEach(([word, ...rest]) => {
    if (word === 'element') elements.push({ name: rest[0], count: Number(rest[1]), properties: [] });
    if (word === 'property') elements[elements.length - 1].properties.push(rest);
  });
  if (!lines.some(([word, said]) => word === 'comment' && said === 'SPACE=LPS')) throw new Error('PLY in another frame');
  return { elements, start: end + END.length };
}

export function parsePly(buffer) {
  const { elements, start } = headerOf(buffer), view = new DataView(buffer);
  const [vertex, face] = elements;
  if (!vertex || vertex.name !== 'vertex' || !face || face.name !== 'face' || face.properties.length < 1) {
    throw new Error('PLY without vertices and faces');
  }
  let stride = 0;
  const fields = {};
  vertex.properties.forEach(([type, name]) => {
    fields[name] = { ...kindOf(type), at: stride };
    stride += fields[name].size;
  });
  const read = (names, into) => {
    names.forEach((name, n) => {
      const { get, at } = fields[name];
      for (let row = 0; row < vertex.count; row += 1) into[names.length * row + n] = view[get](start + row * stride + at, true);
    });
    return into;
  };
  const positions = read(['x', 'y', 'z'], new Float32Array(3 * vertex.count));
  const colours = 'red' in fields ? read(['red', 'green', 'blue'], new Uint8Array(3 * vertex.count)) : null;
  const [, countType, indexType] = face.properties[0], index = kindOf(indexType), length = kindOf(countType).size + 3 * index.size;
  if (face.properties.length > 1) throw new Error('PLY with more than indices in a face');
  const indices = new Uint32Array(3 * face.count), first = start + stride * vertex.count + kindOf(countType).size;
  for (let row = 0; row < face.count; row += 1) {
    for (let n = 0; n < 3; n += 1) indices[3 * row + n] = view[index.get](first + row * length + n * index.size, true);
  }
  return { positions, indices, colours };
}

// Lowest and highest corner.
export function boundsOf(positions) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let n = 0; n < positions.length; n += 1) {
    low[n % 3] = Math.min(low[n % 3], positions[n]);
    high[n % 3] = Math.max(high[n % 3], positions[n]);
  }
  return [low, high];
}

const holds = ([low, high], [innerLow, innerHigh]) =>
  [0, 1, 2].every((n) => low[n] < innerLow[n] && high[n] > innerHigh[n]);

// What encloses another structure is looked through.
export function lookedThrough(boxes) {
  return boxes.map((box, n) => boxes.some((other, m) => n !== m && holds(box, other)));
}
