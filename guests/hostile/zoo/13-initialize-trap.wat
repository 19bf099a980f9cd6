;; W-13: a trap in _initialize
;; outcome: load trap
;; says: unreachable
;; cost: quick

;;@module
(func (export "_initialize") (unreachable))
