"""Kirchhoff's law written down node by node: the slow, plain reference for arrays with resistive wires."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compute.partition import Matrix64

Nodes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Network:
    """R x C cells between R word lines and C bit lines; every piece of wire has `segment_ohm`.

    Nodes are numbered row by row, first those on the word lines, then those on the bit lines. Word lines end on the
    left, bit lines at the bottom, each at a terminal whose voltage is given.
    """

    conductance_us: Matrix64
    segment_ohm: float

    @property
    def nodes(self) -> tuple[Nodes, Nodes]:
        """(R, C) each, numbers of the nodes on word lines and on bit lines."""
        word = np.arange(self.conductance_us.size).reshape(self.conductance_us.shape)
        return word, word + word.size

    @property
    def wire_us(self) -> float:
        return 1e6 / self.segment_ohm

    def branches(self) -> list[tuple[Nodes, Nodes, Matrix64]]:
        """From node, to node, conductance in uS; those to terminals are not among them."""
        word, bit = self.nodes
        ends = [(word[:, :-1], word[:, 1:]), (bit[:-1], bit[1:])]
        wires = [(a.ravel(), b.ravel(), np.full(a.size, self.wire_us)) for a, b in ends]
        return [*wires, (word.ravel(), bit.ravel(), self.conductance_us.ravel())]

    def entries(self) -> tuple[Nodes, Nodes, Matrix64]:
        """Row, column, value of the nodal matrix; what stands twice is to be added."""
        parts: list[tuple[Nodes, Nodes, Matrix64]] = []
        for a, b, us in self.branches():
            parts += [(a, a, us), (b, b, us), (a, b, -us), (b, a, -us)]
        for at_terminal in self._at_terminals():
            parts.append((at_terminal, at_terminal, np.full(len(at_terminal), self.wire_us)))
        rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        return rows, columns, values

    def sources(self, left: Matrix64, bottom: Matrix64) -> Matrix64:
        """(nodes, m), currents that terminals of these voltages, (R, m) and (C, m), would drive into grounded nodes."""
        currents = np.zeros((2 * self.conductance_us.size, left.shape[1]))
        for at_terminal, volts in zip(self._at_terminals(), (left, bottom), strict=True):
            currents[at_terminal] = volts * self.wire_us
        return currents

    def voltages(self, left: Matrix64, bottom: Matrix64) -> Matrix64:
        """(nodes, m), by dense LU."""
        rows, columns, values = self.entries()
        matrix = np.zeros((2 * self.conductance_us.size,) * 2)
        np.add.at(matrix, (rows, columns), values)
        solution: Matrix64 = np.linalg.solve(matrix, self.sources(left, bottom)).astype(np.float64)
        return solution

    def out_of_terminals(
        self, voltages: Matrix64, left: Matrix64, bottom: Matrix64
    ) -> list[Matrix64]:
        """Currents (R, m) and (C, m) in uA that flow from the terminals into the lines, at volts."""
        terminals = zip(self._at_terminals(), (left, bottom), strict=True)
        return [(volts - voltages[nodes]) * self.wire_us for nodes, volts in terminals]

    def _at_terminals(self) -> tuple[Nodes, Nodes]:
        word, bit = self.nodes
        return word[:, 0], bit[-1]
