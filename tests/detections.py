"""Objects on a grid by loops in NumPy: what kmtl.tasks.detection is held against. Boxes are x1, y1, x2, y2."""

import math

import numpy as np


def draw_labels(generator, count, rows, classes):
    """Labels of up to `rows` - 1 boxes, of 2 at most; the last row of each is unused."""
    labels = np.full((count, rows, 5), -1.0, "float32")
    for label in labels:
        for row in label[: generator.integers(0, min(rows, 3))]:
            size = generator.uniform(0.2, 0.5, 2)
            start = generator.uniform(0.0, 1.0 - size)
            row[:] = [*start, *(start + size), generator.integers(classes)]
    return labels


def corners(box):
    """Of centre x, centre y, width, height."""
    x, y, w, h = box
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def overlap(one, other):
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def complete_overlap(one, other):
    hull = [max(one[2], other[2]) - min(one[0], other[0]), max(one[3], other[3]) - min(one[1], other[1])]
    apart = [(one[0] + one[2] - other[0] - other[2]) / 2, (one[1] + one[3] - other[1] - other[3]) / 2]
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (one, other)]
    shape = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    factor = shape / (1 - overlap(one, other) + shape) if shape else 0.0
    return overlap(one, other) - (apart[0] ** 2 + apart[1] ** 2) / (hull[0] ** 2 + hull[1] ** 2) - factor * shape


def answering(costs, objects):
    """Which box answers for each object of a cell: pairs of least cost that are stable, as in the deferred rounds."""
    chosen, free, left = {}, list(range(len(costs[0]))) if costs else [], list(range(objects))
    while left and free:
        asks = {}
        for place in left:
            best = min(free, key=lambda box: costs[place][box])
            asks.setdefault(best, []).append(place)
        for box, places in asks.items():
            winner = min(places, key=lambda place: costs[place][box])
            chosen[winner] = box
            free.remove(box)
            left.remove(winner)
    return chosen


def cells_of(task, label):
    """Objects by cell: `{(row, column): [(corners, class), ...]}`."""
    found = {}
    for *box, name in label:
        if name >= 0:
            column = min(int((box[0] + box[2]) / 2 * task.grid[1]), task.grid[1] - 1)
            row = min(int((box[1] + box[3]) / 2 * task.grid[0]), task.grid[0] - 1)
            found.setdefault((row, column), []).append((np.array(box, "float64"), int(name)))
    return found


def modern_loss(task, label, output):
    """The default loss of one example."""
    scale = np.array([task.grid[1], task.grid[0]] * 2)
    boxes = np.asarray(output[..., : 5 * task.boxes_per_cell], "float64").reshape(*task.grid, task.boxes_per_cell, 5)
    wanted, total, number = np.zeros(boxes.shape[:3]), 0.0, 0
    for (row, column), objects in cells_of(task, label).items():
        number += len(objects)
        guesses = [corners(box[:4]) * scale for box in boxes[row, column]]
        costs = [[1 - complete_overlap(guess, box * scale) for guess in guesses] for box, _ in objects]
        for place, slot in answering(costs, len(objects)).items():
            box, name = objects[place]
            wanted[row, column, slot] = overlap(guesses[slot], box * scale)
            total += 2 * costs[place][slot] - math.log(output[row, column, 5 * task.boxes_per_cell + name])
    given = boxes[..., 4]
    entropy = -wanted * np.log(given) - (1 - wanted) * np.log(1 - given)
    return (total + ((given - wanted) ** 2 * entropy).sum()) / max(number, 1)


def suppressed(boxes, classes, scores, iou_threshold, score_threshold, most):
    """Places of the boxes that greedy non-maximum suppression leaves, best first."""
    kept = []
    for place in sorted(range(len(scores)), key=lambda place: (-scores[place], place)):
        clear = all(classes[place] != classes[k] or overlap(boxes[place], boxes[k]) <= iou_threshold for k in kept)
        if scores[place] >= score_threshold and clear and len(kept) < most:
            kept.append(place)
    return kept


def detected(task, output, score_threshold=0.01):
    """Boxes of one output that are left: `[(score, class, corners), ...]`, best first."""
    edge = 5 * task.boxes_per_cell
    flat = [(box, cell[edge:]) for cell in output.reshape(-1, output.shape[-1]) for box in cell[:edge].reshape(-1, 5)]
    boxes, names = [corners(box[:4]) for box, _ in flat], [int(np.argmax(classes)) for _, classes in flat]
    # In float32, as the scores are binned.
    scores = [np.float32(box[4]) * np.float32(classes.max()) for box, classes in flat]
    kept = suppressed(boxes, names, scores, task.iou_threshold, score_threshold, task.most)
    return [(scores[place], names[place], boxes[place]) for place in kept]


def average_precision(task, labels, outputs, weights, bins=256):
    """Mean average precision at an overlap of 0.5, scores taken by bins, as COCO reads it."""
    rows, number = [], np.zeros(task.classes)
    for label, output, weight in zip(labels, outputs, weights, strict=True):
        free = [(row[:4], int(row[4])) for row in label if row[4] >= 0]
        for _, name in free:
            number[name] += weight
        for score, name, box in detected(task, output):
            able = [place for place, truth in enumerate(free) if truth is not None and truth[1] == name]
            best = max(able, key=lambda place: overlap(box, free[place][0]), default=None)
            hit = best is not None and overlap(box, free[best][0]) >= 0.5
            if hit:
                free[best] = None
            rows.append((min(int(np.float32(score) * bins), bins - 1), name, hit, weight))
    found = []
    for name in np.flatnonzero(number):
        curve = []
        for lowest in sorted({row[0] for row in rows if row[1] == name}):
            above = [row for row in rows if row[1] == name and row[0] >= lowest]
            right = sum(row[3] for row in above if row[2])
            curve.append((right / number[name], right / sum(row[3] for row in above)))
        found.append(
            np.mean([max((p for r, p in curve if r >= at - 1e-6), default=0.0) for at in np.linspace(0, 1, 101)])
        )
    return np.mean(found)
