;; W-13: a trap before anything is asked
;; outcome: load trap
;; says: unreachable
;; cost: quick

;;@start
(unreachable)
