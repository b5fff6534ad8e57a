// Elements are described by h() and patched by key: what did not change is not touched, so that focus, selection, scroll position
// and what is being typed survive each refresh. Text is set as text: nothing that a customer or a fee server wrote becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/// An element; with a `key`, it is the same one as before that has it.
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: children.flat(Infinity).filter((it) => it !== null && it !== undefined && it !== false && it !== "") };
}

/// Makes the children of `parent` what `children` describe.
export function patch(parent, children) {
  const focused = document.activeElement;
  patchChildren(parent, [children].flat(Infinity).filter(Boolean));
  if (focused !== document.activeElement && focused?.isConnected && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/// Takes over what is there, which the server wrote: it is patched from now on, not made anew.
export function adopt(parent, children) {
  const nodes = [...parent.childNodes];
  let index = 0;
  for (const node of nodes) {
    const child = children[index];
    if (child === undefined || !fits(node, child)) {
      node.remove();
      continue;
    }
    index += 1;
    if (!child.tag) continue;
    if (child.props.key !== undefined) node.key = String(child.props.key);
    node.shown = Object.fromEntries([...node.attributes].map(({ name, value }) => [name, value]));
    adopt(node, child.children);
  }
}

function patchChildren(parent, children) {
  const keyed = new Map();
  const unkeyed = [];
  for (const node of parent.childNodes) {
    if (node.key === undefined) unkeyed.push(node); else keyed.set(node.key, node);
  }
  const nodes = children.map((child) => {
    const key = child.props?.key;
    const old = key === undefined ? take(unkeyed, child) : keyed.get(String(key));
    if (old && fits(old, child)) {
      keyed.delete(String(key));
      update(old, child);
      return old;
    }
    return create(parent, child);
  });
  // What is gone goes first: what stays then stands in its place already, and need not be moved.
  for (const node of [...keyed.values(), ...unkeyed]) node.remove();
  nodes.forEach((node, index) => {
    if (parent.childNodes[index] !== node) parent.insertBefore(node, parent.childNodes[index] ?? null);
  });
}

function take(unkeyed, child) {
  const index = unkeyed.findIndex((node) => fits(node, child));
  return index < 0 ? undefined : unkeyed.splice(index, 1)[0];
}

const fits = (node, child) => (child.tag ? node.nodeType === 1 && node.localName === child.tag : node.nodeType === 3);

function create(parent, child) {
  if (!child.tag) return document.createTextNode(child);
  const inSvg = child.tag === "svg" || (parent.namespaceURI === SVG && parent.localName !== "foreignObject");
  const element = inSvg ? document.createElementNS(SVG, child.tag) : document.createElement(child.tag);
  element.shown = {};
  if (child.props.key !== undefined) element.key = String(child.props.key);
  update(element, child);
  return element;
}

function update(node, child) {
  if (!child.tag) {
    if (node.data !== String(child) && !isSelected(node)) node.data = child;
    return;
  }
  const { props } = child;
  for (const name of Object.keys({ ...node.shown, ...props })) {
    if (name !== "key" && node.shown[name] !== props[name]) set(node, name, props[name], node.shown[name]);
  }
  node.shown = props;
  patchChildren(node, child.children);
  // A select has its value only once it has its options.
  if (node.localName === "select" && node !== document.activeElement && props.value !== undefined) node.value = props.value;
}

function set(node, name, value, before) {
  if (name.startsWith("on")) {
    node.removeEventListener(name.slice(2), before);
    if (value) node.addEventListener(name.slice(2), value);
  } else if (name === "value") {
    if (node !== document.activeElement) node.value = value ?? "";
  } else if (name === "checked" || name === "indeterminate") {
    node[name] = value ?? false;
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : value);
  }
}

function isSelected(node) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(node, true);
}
